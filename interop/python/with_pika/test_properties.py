"""Message properties and header tables come back as they were sent, types included."""

import datetime
import decimal

import pika
from pika.compat import long

HEADERS = {
    "string": "héllo",
    "empty": "",
    "binary": b"\x00\xff\xfe",
    "true": True,
    "false": False,
    "small": -7,
    "large": long(2**40),
    "small but long": long(5),
    "decimal": decimal.Decimal("12.34"),
    "time": datetime.datetime(2026, 11, 21, 3, 4, 5, tzinfo=datetime.timezone.utc),
    "nothing": None,
    "list": ["a", 1, True, None, [long(2**33)], {"in": "list"}],
    "table": {"one": {"two": {"three": [1, {"four": "deep"}]}}, "flag": False},
    "no entries": {},
    "no items": [],
}


def exact(value):
    """The value with the types of everything inside, so that 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return {key: exact(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [exact(inner) for inner in value]
    return type(value).__name__, value


def round_trip(channel, queue, properties):
    channel.basic_publish("", queue, b"body", properties)
    _, returned, body = channel.basic_get(queue, auto_ack=True)
    assert body == b"body"
    return returned


def test_all_properties_come_back(channel, queue):
    sent = pika.BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        headers={"a": "b"},
        delivery_mode=2,
        priority=9,
        correlation_id="correlation",
        reply_to="reply-queue",
        expiration="60000",
        message_id="message",
        timestamp=1_700_000_000,
        type="order.placed",
        user_id="guest",
        app_id="interop",
        cluster_id="cluster",
    )
    assert vars(round_trip(channel, queue, sent)) == vars(sent)


def test_message_without_properties_has_none(channel, queue):
    assert vars(round_trip(channel, queue, None)) == vars(pika.BasicProperties())


def test_nested_headers_keep_values_and_types(channel, queue):
    returned = round_trip(channel, queue, pika.BasicProperties(headers=HEADERS)).headers
    assert exact(returned) == exact(HEADERS)


def test_empty_header_table_is_not_the_same_as_none(channel, queue):
    assert round_trip(channel, queue, pika.BasicProperties(headers={})).headers == {}


def test_longest_short_strings_come_back(channel, queue):
    sent = pika.BasicProperties(message_id="m" * 255, correlation_id="ü" * 127, type="")
    returned = round_trip(channel, queue, sent)
    assert (returned.message_id, returned.correlation_id, returned.type) == ("m" * 255, "ü" * 127, "")


def test_large_header_table_comes_back(channel, queue):
    headers = {f"key-{number}": "v" * 100 for number in range(500)}
    assert round_trip(channel, queue, pika.BasicProperties(headers=headers)).headers == headers


def test_properties_survive_requeue_and_fanout(channel, queue, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "fanout")
    channel.queue_bind(queue, exchange)
    sent = pika.BasicProperties(headers=HEADERS, message_id="m")
    channel.basic_publish(exchange, "key", b"body", sent)
    channel.basic_nack(channel.basic_get(queue)[0].delivery_tag, requeue=True)
    method, returned, body = channel.basic_get(queue, auto_ack=True)
    assert (method.exchange, method.routing_key, method.redelivered, body) == (exchange, "key", True, b"body")
    assert exact(returned.headers) == exact(HEADERS)
    assert returned.message_id == "m"
