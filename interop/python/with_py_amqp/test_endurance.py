"""Idle pauses and lost brokers."""

import time

import amqp.exceptions
import pytest

from py_amqp_words import bodies, connect, publish

IDLE_S = 7
TICK_S = 0.5


def test_heartbeats_keep_an_idle_connection(broker, names):
    with connect(broker, heartbeat=2) as connection:
        channel, queue = connection.channel(), names.queue()
        channel.queue_declare(queue, auto_delete=False)
        until = time.monotonic() + IDLE_S
        while time.monotonic() < until:
            connection.heartbeat_tick()
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=TICK_S)
        publish(channel, queue, b"still here")
        assert bodies(channel, queue) == [b"still here"]


def test_connection_without_heartbeats_is_left_alone(broker, names):
    with connect(broker, heartbeat=0) as connection:
        channel = connection.channel()
        time.sleep(IDLE_S)
        channel.queue_declare(names.queue(), exclusive=True)


@pytest.mark.needs_own_broker
def test_client_reconnects_after_a_kill_and_finds_its_durable_messages(own_broker):
    connection = connect(own_broker, confirm_publish=True)
    channel = connection.channel()
    channel.queue_declare("work", durable=True, auto_delete=False)
    publish(channel, "work", b"1", b"2", delivery_mode=2)
    channel.basic_get("work")
    own_broker.kill()
    with pytest.raises((OSError, amqp.exceptions.ConnectionError)):
        connection.drain_events(timeout=10)
    own_broker.start()
    with connect(own_broker) as again:
        first = again.channel().basic_get("work", no_ack=True)
        assert (first.body, first.delivery_info["redelivered"]) == (b"1", True)
        assert bodies(again.channel(), "work") == [b"2"]
