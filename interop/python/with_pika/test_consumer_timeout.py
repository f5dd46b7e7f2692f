"""Deliveries that stay unacked for too long. RabbitMQ closes the channel; here only the message goes elsewhere."""

import pytest

from pika_blocking import Inbox, bodies, counts, dead_letters_to, deaths, declare, wait_until

pytestmark = pytest.mark.beyond_rabbitmq

SOON = {"x-consumer-timeout": 100}


def test_a_late_delivery_goes_to_another_and_its_channel_lives(connection, channel, names):
    queue = declare(channel, names, SOON)
    channel.basic_qos(prefetch_count=1)
    stuck = Inbox(channel, queue)
    channel.basic_publish("", queue, b"1")
    stuck.wait(1)
    other = connection.channel()
    healthy = Inbox(other, queue, auto_ack=True)
    [(method, _, body)] = healthy.wait(1)
    assert (body, method.redelivered) == (b"1", True)
    other.basic_cancel(healthy.tag)
    # The ack comes too late to settle anything, but gives the consumer room for the next message.
    channel.basic_ack(stuck.tags()[0])
    channel.basic_publish("", queue, b"2")
    stuck.wait(2)
    assert stuck.bodies() == [b"1", b"2"]
    assert not stuck.is_cancelled_by_broker


def test_a_stuck_consumer_gets_no_more_until_it_acks(connection, channel, names):
    queue = declare(channel, names)
    channel.basic_qos(prefetch_count=1)
    stuck = Inbox(channel, queue, arguments=SOON)
    channel.basic_publish("", queue, b"1")
    channel.basic_publish("", queue, b"2")
    stuck.wait(1)
    wait_until(connection, lambda: counts(channel, queue)[0] == 2)
    assert stuck.bodies() == [b"1"]
    channel.basic_ack(stuck.tags()[0])
    stuck.wait(2)
    assert stuck.bodies() == [b"1", b"1"]
    assert stuck.deliveries[1][0].redelivered


def test_a_consumer_may_name_its_own_time(connection, channel, names):
    queue = declare(channel, names, SOON)
    patient, stuck = connection.channel(), connection.channel()
    for consuming in (patient, stuck):
        consuming.basic_qos(prefetch_count=1)
    holder = Inbox(patient, queue, arguments={"x-consumer-timeout": 60_000})
    channel.basic_publish("", queue, b"1")
    holder.wait(1)
    clock = Inbox(stuck, queue)
    channel.basic_publish("", queue, b"2")
    clock.wait(1)
    # The first was handed out earlier: it would be back too if the time of its queue were its own.
    wait_until(connection, lambda: counts(channel, queue)[0] > 0)
    assert bodies(channel, queue) == [b"2"]
    patient.basic_ack(holder.tags()[0])


def test_being_late_counts_towards_the_delivery_limit(channel, names):
    dead = declare(channel, names)
    queue = declare(channel, names, SOON, {"x-delivery-limit": 0}, dead_letters_to(dead))
    Inbox(channel, queue)
    channel.basic_publish("", queue, b"poison")
    [(_, properties, body)] = Inbox(channel, dead).wait(1)
    assert (body, deaths(properties)) == (b"poison", [(queue, "delivery_limit", 1)])


def test_a_late_single_active_consumer_is_replaced(connection, channel, names):
    queue = declare(channel, names, {"x-single-active-consumer": True})
    active = Inbox(channel, queue, arguments=SOON)
    waiting = Inbox(connection.channel(), queue)
    channel.basic_publish("", queue, b"job")
    waiting.wait(1)
    assert (active.bodies(), waiting.bodies()) == ([b"job"], [b"job"])
    wait_until(connection, lambda: active.is_cancelled_by_broker)
    channel.basic_ack(active.tags()[0])
    assert bodies(channel, queue) == []
