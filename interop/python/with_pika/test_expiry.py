"""Messages and queues that end because of time."""

import pika
import pika.exceptions
import pytest

from pika_blocking import Inbox, bodies, counts, dead_letters_to, deaths, declare, wait_until

SOON = 50
LATER = 60_000


def lasting(milliseconds):
    """Properties of a message that expires."""
    return pika.BasicProperties(expiration=str(milliseconds))


def is_gone(channel, queue):
    """Whether a queue takes no messages any more. Asking this does not count as using the queue."""
    try:
        channel.basic_publish("", queue, b"is there somebody?", mandatory=True)
    except pika.exceptions.UnroutableError:
        return True
    return False


def test_messages_go_when_the_time_of_their_queue_is_over(connection, channel, names):
    queue = declare(channel, names, {"x-message-ttl": SOON})
    channel.confirm_delivery()
    for body in (b"1", b"2", b"3"):
        channel.basic_publish("", queue, body)
    wait_until(connection, lambda: counts(channel, queue)[0] == 0)
    assert bodies(channel, queue) == []


@pytest.mark.parametrize("of_queue, of_message", [(SOON, LATER), (LATER, SOON), (SOON, None), (None, SOON)])
def test_the_smaller_time_to_live_counts(channel, names, of_queue, of_message):
    dead = declare(channel, names)
    queue = declare(channel, names, {"x-message-ttl": of_queue} if of_queue else {}, dead_letters_to(dead))
    channel.basic_publish("", queue, b"brief", lasting(of_message) if of_message else None)
    [(_, properties, body)] = Inbox(channel, dead).wait(1)
    assert (body, deaths(properties)) == (b"brief", [(queue, "expired", 1)])
    assert properties.expiration is None
    original = str(of_message) if of_message else None
    assert properties.headers["x-death"][0].get("original-expiration") == original


@pytest.mark.beyond_rabbitmq
def test_an_expired_message_goes_from_behind_one_that_stays(channel, names):
    dead = declare(channel, names)
    queue = declare(channel, names, dead_letters_to(dead))
    channel.basic_publish("", queue, b"stays")
    channel.basic_publish("", queue, b"goes", lasting(SOON))
    channel.basic_publish("", queue, b"stays too", lasting(LATER))
    assert [body for _, _, body in Inbox(channel, dead).wait(1)] == [b"goes"]
    assert bodies(channel, queue) == [b"stays", b"stays too"]


def test_no_time_at_all_is_enough_for_a_waiting_consumer_only(channel, names):
    dead = declare(channel, names)
    queue = declare(channel, names, dead_letters_to(dead))
    channel.basic_publish("", queue, b"nobody waits", lasting(0))
    late = Inbox(channel, dead)
    late.wait(1)
    prompt = Inbox(channel, queue, auto_ack=True)
    channel.basic_publish("", queue, b"somebody waits", lasting(0))
    prompt.wait(1)
    assert (late.bodies(), prompt.bodies()) == ([b"nobody waits"], [b"somebody waits"])


def test_an_unacked_message_expires_when_it_comes_back(channel, names):
    dead = declare(channel, names)
    queue = declare(channel, names, {"x-message-ttl": SOON}, dead_letters_to(dead))
    channel.basic_qos(prefetch_count=1)
    holder = Inbox(channel, queue)
    channel.basic_publish("", queue, b"held")
    holder.wait(1)
    # It has the same time to live and entered later: once it is dead, the time of the other is over too.
    channel.basic_publish("", queue, b"clock")
    ended = Inbox(channel, dead, auto_ack=True)
    ended.wait(1)
    assert ended.bodies() == [b"clock"]
    channel.basic_cancel(holder.tag)
    channel.basic_nack(holder.tags()[0], requeue=True)
    ended.wait(2)
    assert ended.bodies() == [b"clock", b"held"]


def test_a_queue_goes_when_it_is_not_used_and_stays_while_it_is(connection, channel, names):
    publisher = connection.channel()
    publisher.confirm_delivery()
    used = declare(channel, names, {"x-expires": 500})
    inbox = Inbox(channel, used, auto_ack=True)
    unused = declare(channel, names, {"x-expires": 1000})
    wait_until(connection, lambda: is_gone(publisher, unused))
    assert not is_gone(publisher, used)
    channel.basic_cancel(inbox.tag)
    wait_until(connection, lambda: is_gone(publisher, used))
