"""Queues whose messages go to one consumer at a time."""

import pytest

from pika_blocking import Inbox, channel_error, counts, publish_all, wait_until


@pytest.fixture
def single(channel, names):
    """A fresh queue with a single active consumer."""
    queue = names.queue()
    channel.queue_declare(queue, arguments={"x-single-active-consumer": True})
    return queue


def test_only_the_first_consumer_gets_messages(connection, channel, single):
    first = Inbox(channel, single)
    second = Inbox(connection.channel(), single, arguments={"x-priority": 10})
    for number in range(10):
        channel.basic_publish("", single, b"%d" % number)
    first.wait(10)
    assert first.bodies() == [b"%d" % number for number in range(10)]
    assert second.deliveries == []
    assert counts(channel, single) == (0, 2)


def test_a_full_prefetch_does_not_make_room_for_others(connection, channel, single):
    channel.basic_qos(prefetch_count=1)
    first = Inbox(channel, single)
    second = Inbox(connection.channel(), single)
    channel.basic_publish("", single, b"1")
    channel.basic_publish("", single, b"2")
    first.wait(1)
    assert counts(channel, single) == (1, 2)
    assert second.deliveries == []
    channel.basic_ack(first.tags()[0])
    assert [body for _, _, body in first.wait(2)] == [b"1", b"2"]


def test_the_highest_priority_takes_over_and_sees_the_order(connection, channel, single):
    doomed = connection.channel()
    doomed.basic_qos(prefetch_count=2)
    active = Inbox(doomed, single)
    low = Inbox(connection.channel(), single)
    high = Inbox(connection.channel(), single, arguments={"x-priority": 10})
    for body in (b"1", b"2", b"3"):
        channel.basic_publish("", single, body)
    active.wait(2)
    # A channel that its client closes cancels its consumers first, and hands over with what is unacked still out.
    doomed.basic_ack(99)
    assert channel_error(doomed.basic_qos)[0] == 406
    high.wait(3)
    assert high.bodies() == [b"1", b"2", b"3"]
    assert [method.redelivered for method, _, _ in high.deliveries] == [True, True, False]
    assert low.deliveries == []


def test_a_cancelled_consumer_hands_over_at_once(connection, channel, single):
    first = Inbox(channel, single)
    second = Inbox(connection.channel(), single)
    channel.basic_publish("", single, b"1")
    first.wait(1)
    channel.basic_cancel(first.tag)
    channel.basic_publish("", single, b"2")
    second.wait(1)
    assert second.bodies() == [b"2"]
    channel.basic_nack(first.tags()[0], requeue=True)
    second.wait(2)
    assert second.bodies() == [b"2", b"1"]


def test_exclusive_consumers_are_refused(channel, single):
    refusal = f"ACCESS_REFUSED - queue '{single}' in vhost '/' in exclusive use"
    assert channel_error(channel.basic_consume, single, lambda *_: None, exclusive=True) == (403, refusal)


def test_a_quorum_queue_with_it_is_not_got_from(connection, channel, names):
    queue = names.queue()
    arguments = {"x-queue-type": "quorum", "x-single-active-consumer": True}
    channel.queue_declare(queue, durable=True, arguments=arguments)
    publish_all(channel, queue, b"1")
    refusal = (
        f"RESOURCE_LOCKED - cannot obtain access to locked queue '{queue}' in vhost '/'. "
        "basic.get operations are not supported by quorum queues with single active consumer"
    )
    assert channel_error(connection.channel().basic_get, queue) == (405, refusal)
    first = Inbox(channel, queue)
    first.wait(1)
    high = Inbox(connection.channel(), queue, arguments={"x-priority": 1})
    channel.basic_publish("", queue, b"2")
    channel.basic_ack(first.tags()[0])
    wait_until(connection, lambda: high.bodies() == [b"2"])
