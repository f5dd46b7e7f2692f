"""Queues that are full: what makes room, and what is refused."""

import pika
import pika.exceptions
import pytest

from pika_blocking import Inbox, bodies, counts, dead_letters_to, deaths, declare


@pytest.fixture
def publisher(connection):
    """A channel in confirm mode, on which a refused publish is an error."""
    publisher = connection.channel()
    publisher.confirm_delivery()
    return publisher


@pytest.fixture
def dead(channel, names):
    """A queue for dead letters."""
    return declare(channel, names)


@pytest.mark.parametrize("limit", [{"x-max-length": 2}, {"x-max-length-bytes": 10}])
def test_the_oldest_make_room(channel, publisher, names, dead, limit):
    queue = declare(channel, names, limit, dead_letters_to(dead))
    for body in (b"11111", b"22222", b"33333", b"44444"):
        publisher.basic_publish("", queue, body)
    assert bodies(channel, queue) == [b"33333", b"44444"]
    inbox = Inbox(channel, dead)
    inbox.wait(2)
    assert inbox.bodies() == [b"11111", b"22222"]
    assert deaths(inbox.deliveries[0][1]) == [(queue, "maxlen", 1)]


def test_a_limit_of_none_is_for_those_who_wait(channel, publisher, names):
    queue = declare(channel, names, {"x-max-length": 0})
    publisher.basic_publish("", queue, b"nobody waits")
    inbox = Inbox(channel, queue, auto_ack=True)
    publisher.basic_publish("", queue, b"somebody waits")
    inbox.wait(1)
    assert inbox.bodies() == [b"somebody waits"]


@pytest.mark.parametrize("limit", [{"x-max-length": 2}, {"x-max-length-bytes": 10}])
def test_a_full_queue_refuses_until_there_is_room(channel, publisher, names, limit):
    queue = declare(channel, names, limit, {"x-overflow": "reject-publish"})
    publisher.basic_publish("", queue, b"11111")
    publisher.basic_publish("", queue, b"22222")
    with pytest.raises(pika.exceptions.NackError):
        publisher.basic_publish("", queue, b"33333")
    assert channel.basic_get(queue, auto_ack=True)[2] == b"11111"
    publisher.basic_publish("", queue, b"44444")
    assert bodies(channel, queue) == [b"22222", b"44444"]


def test_the_other_queues_keep_what_one_refuses(channel, publisher, names):
    full = declare(channel, names, {"x-max-length": 1, "x-overflow": "reject-publish"})
    roomy = declare(channel, names)
    for queue in (full, roomy):
        channel.queue_bind(queue, "amq.direct", full)
    publisher.basic_publish("amq.direct", full, b"1")
    with pytest.raises(pika.exceptions.NackError):
        publisher.basic_publish("amq.direct", full, b"2")
    assert (bodies(channel, full), bodies(channel, roomy)) == ([b"1"], [b"1", b"2"])


def test_what_is_refused_can_be_a_dead_letter(channel, publisher, names, dead):
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish-dlx"}
    queue = declare(channel, names, arguments, dead_letters_to(dead))
    publisher.basic_publish("", queue, b"kept")
    with pytest.raises(pika.exceptions.NackError):
        publisher.basic_publish("", queue, b"refused")
    [(_, properties, body)] = Inbox(channel, dead).wait(1)
    assert (body, deaths(properties)) == (b"refused", [(queue, "maxlen", 1)])
    assert bodies(channel, queue) == [b"kept"]


def test_unacked_messages_take_no_room(channel, publisher, names):
    queue = declare(channel, names, {"x-max-length": 1})
    publisher.basic_publish("", queue, b"held")
    method, _, _ = channel.basic_get(queue)
    publisher.basic_publish("", queue, b"ready")
    assert counts(channel, queue)[0] == 1
    channel.basic_nack(method.delivery_tag, requeue=True)
    # It is the oldest again, and there is room for one.
    assert bodies(channel, queue) == [b"ready"]


@pytest.mark.beyond_rabbitmq
def test_the_lowest_priority_makes_room_first(channel, publisher, names):
    queue = declare(channel, names, {"x-max-length": 2, "x-max-priority": 9})
    for body, priority in [(b"low", 1), (b"high", 8), (b"middle", 5)]:
        publisher.basic_publish("", queue, body, pika.BasicProperties(priority=priority))
    assert bodies(channel, queue) == [b"high", b"middle"]
