"""Queues and consumers with priorities."""

import pika
import pytest

from pika_blocking import Inbox, bodies, channel_error, declare


def publish(channel, queue, *messages):
    """Publish each body with its priority; None is without."""
    channel.confirm_delivery()
    for body, priority in messages:
        channel.basic_publish("", queue, body, pika.BasicProperties(priority=priority, delivery_mode=2))


@pytest.mark.parametrize("durable", [False, True])
def test_the_highest_priority_goes_first_and_each_keeps_its_order(connection, channel, names, durable):
    queue = declare(channel, names, {"x-max-priority": 5}, durable=durable)
    messages = [(b"none", None), (b"1a", 1), (b"5a", 5), (b"1b", 1), (b"9 is 5", 9), (b"3", 3)]
    publish(connection.channel(), queue, *messages)
    assert bodies(channel, queue) == [b"5a", b"9 is 5", b"3", b"1a", b"1b", b"none"]


def test_a_requeued_message_keeps_its_place(connection, channel, names):
    queue = declare(channel, names, {"x-max-priority": 2})
    publish(connection.channel(), queue, (b"2a", 2), (b"2b", 2), (b"1", 1))
    method, properties, _ = channel.basic_get(queue)
    assert properties.priority == 2
    channel.basic_reject(method.delivery_tag, requeue=True)
    assert bodies(channel, queue) == [b"2a", b"2b", b"1"]


@pytest.mark.parametrize("levels, reason", [(256, "{max_value_exceeded,256}"), (-1, "{value_negative,-1}")])
def test_more_levels_than_there_are_is_an_error(channel, names, levels, reason):
    queue = names.queue()
    assert channel_error(channel.queue_declare, queue, arguments={"x-max-priority": levels}) == (
        406,
        f"PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue '{queue}' in vhost '/': {reason}",
    )


def test_lower_consumers_get_what_the_higher_have_no_room_for(connection, channel, queue):
    high, low = connection.channel(), connection.channel()
    for consuming in (high, low):
        consuming.basic_qos(prefetch_count=2)
    lower = Inbox(low, queue, arguments={"x-priority": -1})
    higher = Inbox(high, queue, arguments={"x-priority": 10})
    for number in range(4):
        channel.basic_publish("", queue, b"%d" % number)
    lower.wait(2)
    assert (higher.bodies(), lower.bodies()) == ([b"0", b"1"], [b"2", b"3"])
    high.basic_ack(higher.tags()[-1], multiple=True)
    channel.basic_publish("", queue, b"4")
    higher.wait(3)
    assert higher.bodies()[-1] == b"4"


@pytest.mark.parametrize("priority", ["5", True])
def test_a_consumer_priority_is_an_integer(channel, queue, priority):
    code, text = channel_error(channel.basic_consume, queue, lambda *_: None, arguments={"x-priority": priority})
    assert code == 406
    assert text.startswith(f"PRECONDITION_FAILED - invalid arg 'x-priority' for queue '{queue}' in vhost '/'")
