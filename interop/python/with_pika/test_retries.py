"""Messages that come back too often, or only after a rest."""

import time

import pika
import pika.exceptions
import pytest

from pika_blocking import Inbox, connect, connected, dead_letters_to, deaths, declare

LIMITED = [
    {"x-queue-type": "quorum", "x-delivery-limit": 2},
    pytest.param({"x-delivery-limit": 2}, marks=pytest.mark.beyond_rabbitmq),
]
PERSISTENT = pika.BasicProperties(delivery_mode=2)


def delivery_count(properties):
    """How often the message came back before, as it says."""
    return (properties.headers or {}).get("x-delivery-count", 0)


@pytest.mark.parametrize("arguments", LIMITED)
def test_a_message_that_fails_too_often_is_dead(channel, names, arguments):
    dead = declare(channel, names)
    queue = declare(channel, names, arguments, dead_letters_to(dead), durable=True)
    inbox = Inbox(channel, queue)
    channel.basic_publish("", queue, b"poison", PERSISTENT)
    for attempt in range(3):
        method, properties, _ = inbox.wait(attempt + 1)[-1]
        assert (delivery_count(properties), method.redelivered) == (attempt, attempt > 0)
        channel.basic_reject(method.delivery_tag, requeue=True)
    [(_, properties, body)] = Inbox(channel, dead).wait(1)
    assert (body, deaths(properties)) == (b"poison", [(queue, "delivery_limit", 1)])
    assert len(inbox.deliveries) == 3


@pytest.mark.parametrize("arguments", LIMITED)
def test_a_lost_channel_counts_too(connection, channel, names, arguments):
    dead = declare(channel, names)
    queue = declare(channel, names, arguments, dead_letters_to(dead), durable=True)
    channel.basic_publish("", queue, b"poison", PERSISTENT)
    for attempt in range(3):
        doomed = connection.channel()
        [(_, properties, _)] = Inbox(doomed, queue).wait(1)
        assert delivery_count(properties) == attempt
        doomed.close()
    [(_, properties, _)] = Inbox(channel, dead).wait(1)
    assert deaths(properties) == [(queue, "delivery_limit", 1)]


@pytest.mark.needs_own_broker
def test_the_count_outlives_the_broker(own_broker):
    connection = connect(own_broker)
    channel = connection.channel()
    channel.queue_declare("dead", durable=True)
    channel.queue_declare("work", durable=True, arguments={"x-delivery-limit": 1, **dead_letters_to("dead")})
    channel.confirm_delivery()
    channel.basic_publish("", "work", b"poison", PERSISTENT)
    inbox = Inbox(channel, "work")
    inbox.wait(1)
    channel.basic_reject(inbox.tags()[0], requeue=True)
    inbox.wait(2)
    # Its confirm says that what came before it is on disk too, the count among it.
    channel.queue_declare("marker", durable=True)
    channel.basic_publish("", "marker", b"", PERSISTENT)
    own_broker.kill()
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        connection.process_data_events(time_limit=10)
    own_broker.start()
    with connected(own_broker) as again:
        channel = again.channel()
        inbox = Inbox(channel, "work")
        [(method, properties, _)] = inbox.wait(1)
        assert (delivery_count(properties), method.redelivered) == (1, True)
        channel.basic_reject(method.delivery_tag, requeue=True)
        [(_, properties, body)] = Inbox(channel, "dead").wait(1)
        assert (body, deaths(properties)) == (b"poison", [("work", "delivery_limit", 1)])


def resting(kind, shortest, longest):
    """The arguments that make returned messages rest, for milliseconds."""
    return {"x-delayed-retry-type": kind, "x-delayed-retry-min": shortest, "x-delayed-retry-max": longest}


@pytest.mark.beyond_rabbitmq
def test_each_rest_is_longer_up_to_the_longest(channel, names):
    queue = declare(channel, names, resting("all", 100, 250))
    inbox = Inbox(channel, queue)
    channel.basic_publish("", queue, b"job")
    inbox.wait(1)
    for attempt, rest in enumerate([0.1, 0.2, 0.25, 0.25], start=1):
        returned = time.monotonic()
        channel.basic_reject(inbox.tags()[-1], requeue=True)
        inbox.wait(attempt + 1)
        # The broker counts whole milliseconds, and the return may have come late in one.
        assert time.monotonic() - returned > rest - 0.001


@pytest.mark.beyond_rabbitmq
@pytest.mark.parametrize("kind, at_once", [("failed", "nack"), ("returned", "reject")])
def test_only_the_named_returns_rest(channel, names, kind, at_once):
    verbs = {"nack": channel.basic_nack, "reject": channel.basic_reject}
    [rests] = set(verbs) - {at_once}
    queue = declare(channel, names, resting(kind, 60_000, 60_000))
    inbox = Inbox(channel, queue)
    channel.basic_publish("", queue, b"rests")
    inbox.wait(1)
    verbs[rests](inbox.tags()[0], requeue=True)
    channel.basic_publish("", queue, b"comes back")
    inbox.wait(2)
    verbs[at_once](inbox.tags()[1], requeue=True)
    inbox.wait(3)
    assert inbox.bodies() == [b"rests", b"comes back", b"comes back"]


@pytest.mark.beyond_rabbitmq
def test_a_resting_message_lets_others_pass(channel, names):
    queue = declare(channel, names, resting("all", 200, 200))
    channel.basic_qos(prefetch_count=1)
    inbox = Inbox(channel, queue)
    channel.basic_publish("", queue, b"1")
    channel.basic_publish("", queue, b"2")
    inbox.wait(1)
    channel.basic_reject(inbox.tags()[0], requeue=True)
    inbox.wait(2)
    channel.basic_ack(inbox.tags()[1])
    inbox.wait(3)
    assert inbox.bodies() == [b"1", b"2", b"1"]
