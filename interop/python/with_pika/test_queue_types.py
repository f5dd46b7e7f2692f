"""Quorum queues, and arguments that choose a way of storing."""

import pika
import pytest

from pika_blocking import Inbox, bodies, channel_error, connection_error, dead_letters_to, deaths, declare, publish_all

QUORUM = {"x-queue-type": "quorum"}
QUORUM_NOT_CLASSIC = "'quorum' but current is 'classic'"


def test_a_quorum_queue_is_a_durable_queue(channel, names):
    queue = declare(channel, names, QUORUM, durable=True)
    publish_all(channel, queue, b"1", b"2")
    inbox = Inbox(channel, queue)
    inbox.wait(2)
    assert inbox.bodies() == [b"1", b"2"]
    channel.basic_ack(inbox.tags()[-1], multiple=True)
    channel.queue_declare(queue, durable=True, arguments=QUORUM)
    assert channel.queue_delete(queue).method.message_count == 0


@pytest.mark.parametrize(
    "options, refused",
    [
        ({"durable": False}, "non-durable"),
        ({"durable": True, "auto_delete": True}, "auto-delete"),
        ({"durable": True, "exclusive": True}, "exclusive-owner"),
    ],
)
def test_what_a_quorum_queue_can_not_be(channel, names, options, refused):
    queue = names.queue()
    assert channel_error(channel.queue_declare, queue, arguments=QUORUM, **options) == (
        406,
        f"PRECONDITION_FAILED - invalid property '{refused}' for queue '{queue}' in vhost '/'",
    )


def test_a_quorum_queue_has_a_name_and_keeps_its_type(connection, channel, names, is_old_rabbitmq):
    text = "PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue"
    assert channel_error(connection.channel().queue_declare, "", durable=True, arguments=QUORUM) == (406, text)
    queue = declare(channel, names, durable=True)
    code, text = channel_error(channel.queue_declare, queue, durable=True, arguments=QUORUM)
    differs = f"PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue '{queue}' in vhost '/': received "
    quorum = "the value 'quorum' of type 'longstr' but current is none" if is_old_rabbitmq else QUORUM_NOT_CLASSIC
    assert (code, text) == (406, differs + quorum)


def test_a_quorum_queue_has_no_channel_wide_prefetch(channel, connection, names):
    queue = declare(channel, names, QUORUM, durable=True)
    limited = connection.channel()
    limited.basic_qos(prefetch_count=1, global_qos=True)
    assert connection_error(limited.basic_consume, queue, lambda *_: None) == (
        540,
        f"NOT_IMPLEMENTED - queue '{queue}' in vhost '/' does not support global qos",
    )


@pytest.mark.beyond_rabbitmq
def test_twenty_returns_are_enough_where_dead_letters_are_taken(channel, names):
    """RabbitMQ 4 has this limit on every quorum queue, and drops messages where nothing takes them."""
    dead = declare(channel, names)
    queue = declare(channel, names, QUORUM, dead_letters_to(dead), durable=True)
    inbox = Inbox(channel, queue)
    channel.basic_publish("", queue, b"poison", pika.BasicProperties(delivery_mode=2))
    for attempt in range(21):
        inbox.wait(attempt + 1)
        channel.basic_reject(inbox.tags()[-1], requeue=True)
    [(_, properties, _)] = Inbox(channel, dead).wait(1)
    assert deaths(properties) == [(queue, "delivery_limit", 1)]
    assert len(inbox.deliveries) == 21


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-queue-mode": "lazy"},
        {"x-queue-version": 2},
        {"x-queue-type": "classic", "x-queue-mode": "default"},
        {"x-queue-master-locator": "min-masters", "x-ha-policy": "all"},
        {"x-queue-type": "quorum", "x-quorum-initial-group-size": 3, "x-queue-leader-locator": "balanced"},
        {"x-queue-type": "quorum", "x-max-in-memory-length": 10, "x-max-in-memory-bytes": 1000},
    ],
    ids=lambda arguments: "+".join(arguments),
)
def test_arguments_that_choose_a_way_of_storing_are_accepted(channel, names, arguments):
    queue = declare(channel, names, arguments, durable=True)
    publish_all(channel, queue, b"1", b"2", b"3")
    channel.queue_declare(queue, durable=True, arguments=arguments)
    assert bodies(channel, queue) == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    "arguments, refused",
    [
        ({"x-queue-type": "foo"}, "invalid arg 'x-queue-type' for {}: \"unsupported queue type 'foo'\""),
        ({"x-queue-version": 3}, "invalid arg 'x-queue-version' for {}: \"unsupported queue version '3'\""),
        ({"x-max-age": "1D"}, "invalid arg 'x-max-age' for {} of queue type rabbit_classic_queue"),
        (
            {"x-queue-type": "quorum", "x-queue-mode": "lazy"},
            "invalid arg 'x-queue-mode' for {} of queue type rabbit_quorum_queue",
        ),
    ],
    ids=["type", "version", "stream's", "classic's"],
)
def test_arguments_of_no_type_or_of_another_are_refused(channel, names, arguments, refused):
    queue = names.queue()
    code, text = channel_error(channel.queue_declare, queue, durable=True, arguments=arguments)
    assert (code, text) == (406, "PRECONDITION_FAILED - " + refused.format(f"queue '{queue}' in vhost '/'"))


@pytest.mark.beyond_rabbitmq
def test_there_are_no_streams_yet(channel, names):
    code, text = channel_error(channel.queue_declare, names.queue(), durable=True, arguments={"x-queue-type": "stream"})
    assert code == 406
    assert "this broker has no streams yet" in text
