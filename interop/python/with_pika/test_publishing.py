"""Publishing: confirms, returns, sizes."""

import os

import pika
import pika.exceptions
import pytest

from pika_blocking import bodies, connected, counts, publish_error, wait_until

FRAME_MAX = 131072
MESSAGE_SIZE_MAX = 16 * 1024 * 1024
PERSISTENT = pika.BasicProperties(delivery_mode=2)


def test_every_publish_is_confirmed_in_confirm_mode(channel, queue):
    channel.confirm_delivery()
    for number in range(100):
        channel.basic_publish("", queue, b"%d" % number)
    assert counts(channel, queue)[0] == 100
    assert bodies(channel, queue) == [b"%d" % number for number in range(100)]


def test_persistent_publish_to_a_durable_queue_is_confirmed(channel, names):
    queue = names.queue()
    channel.queue_declare(queue, durable=True)
    channel.confirm_delivery()
    for number in range(20):
        channel.basic_publish("", queue, b"%d" % number, PERSISTENT)
    assert counts(channel, queue)[0] == 20


def test_unroutable_publish_without_mandatory_is_confirmed(channel, names):
    channel.confirm_delivery()
    channel.basic_publish("", names.queue(), b"into the void")


def test_unroutable_mandatory_publish_is_returned_before_its_confirm(channel, names):
    channel.confirm_delivery()
    key = names.queue()
    properties = pika.BasicProperties(message_id="m-1", headers={"kept": True})
    with pytest.raises(pika.exceptions.UnroutableError) as unroutable:
        channel.basic_publish("amq.direct", key, b"come back", properties, mandatory=True)
    [returned] = unroutable.value.messages
    method = returned.method
    assert (method.reply_code, method.reply_text) == (312, "NO_ROUTE")
    assert (method.exchange, method.routing_key) == ("amq.direct", key)
    assert (returned.properties.message_id, returned.properties.headers) == ("m-1", {"kept": True})
    assert returned.body == b"come back"


def test_mandatory_return_comes_without_confirm_mode_too(connection, channel, queue):
    returned = []
    channel.add_on_return_callback(lambda _channel, method, _properties, body: returned.append((method, body)))
    channel.basic_publish("", queue, b"routed", mandatory=True)
    channel.basic_publish("", queue + "-missing", b"not routed", mandatory=True)
    wait_until(connection, lambda: returned)
    assert [(method.reply_code, body) for method, body in returned] == [(312, b"not routed")]


@pytest.mark.parametrize("size", [0, 1, FRAME_MAX - 9, FRAME_MAX - 8, FRAME_MAX - 7, 2 * (FRAME_MAX - 8), 5 << 20])
def test_body_of_any_size_comes_back_whole(channel, queue, size):
    body = os.urandom(size)
    channel.confirm_delivery()
    channel.basic_publish("", queue, body, PERSISTENT)
    assert bodies(channel, queue) == [body]


def test_small_frames_split_bodies_both_ways(broker, queue):
    body = os.urandom(100_000)
    with connected(broker, frame_max=4096) as connection:
        channel = connection.channel()
        channel.basic_publish("", queue, body)
        assert bodies(channel, queue) == [body]


def test_too_large_message_closes_the_channel(channel, queue, is_old_rabbitmq):
    if is_old_rabbitmq:
        pytest.skip("RabbitMQ before 4.0 takes messages of up to 128 MiB")
    assert publish_error(channel, "", queue, bytes(MESSAGE_SIZE_MAX + 1)) == (
        406,
        f"PRECONDITION_FAILED - message size {MESSAGE_SIZE_MAX + 1} is larger than configured max size "
        f"{MESSAGE_SIZE_MAX}",
    )


def test_messages_of_one_channel_keep_their_order(channel, queue):
    expected = [b"%d" % number for number in range(1000)]
    for body in expected:
        channel.basic_publish("", queue, body)
    wait_until(channel.connection, lambda: counts(channel, queue)[0] == len(expected))
    assert bodies(channel, queue) == expected
