"""Exchanges and bindings: which queues a message reaches."""

import pika
import pytest

from pika_blocking import bodies, channel_error, counts, publish_error


def declare(channel, names, kind, **options):
    exchange = names.exchange()
    channel.exchange_declare(exchange, kind, **options)
    return exchange


def bound_queue(channel, names, exchange, key="", arguments=None):
    queue = names.queue()
    channel.queue_declare(queue)
    channel.queue_bind(queue, exchange, key, arguments)
    return queue


def test_default_exchange_routes_by_queue_name(channel, queue):
    channel.basic_publish("", queue, b"one")
    channel.basic_publish("", queue + "x", b"other")
    assert bodies(channel, queue) == [b"one"]


def test_direct_exchange_routes_on_the_equal_key_only(channel, names):
    exchange = declare(channel, names, "direct")
    red = bound_queue(channel, names, exchange, "red")
    blue = bound_queue(channel, names, exchange, "blue")
    for key in ("red", "blue", "green", "Red", "red.light", ""):
        channel.basic_publish(exchange, key, key.encode())
    assert bodies(channel, red) == [b"red"]
    assert bodies(channel, blue) == [b"blue"]


def test_fanout_exchange_copies_to_every_queue(channel, names):
    exchange = declare(channel, names, "fanout")
    queues = [bound_queue(channel, names, exchange, key) for key in ("", "a", "b")]
    channel.basic_publish(exchange, "whatever", b"news")
    assert [bodies(channel, queue) for queue in queues] == [[b"news"]] * 3


TOPIC_KEYS = ["", "a", "b", "a.", ".a", ".", "a.b", "a.b.c", "a..b", "x.b.y", "a#", "A"]


@pytest.mark.parametrize(
    "pattern, matched",
    [
        ("#", TOPIC_KEYS),
        ("", [""]),
        ("*", ["a", "b", "a#", "A"]),
        ("a", ["a"]),
        ("a.*", ["a.", "a.b"]),
        ("a.#", ["a", "a.", "a.b", "a.b.c", "a..b"]),
        ("*.a", [".a"]),
        ("#.a", ["a", ".a"]),
        ("*.*", ["a.", ".a", ".", "a.b"]),
        ("a.*.b", ["a..b"]),
        ("a.#.b", ["a.b", "a..b"]),
        ("#.b.#", ["b", "a.b", "a.b.c", "a..b", "x.b.y"]),
        ("a#", ["a#"]),
        ("#.#", TOPIC_KEYS),
        ("*.#", [key for key in TOPIC_KEYS if key]),
    ],
)
def test_topic_pattern_matches_word_by_word(channel, names, pattern, matched):
    exchange = declare(channel, names, "topic")
    queue = bound_queue(channel, names, exchange, pattern)
    for key in TOPIC_KEYS:
        channel.basic_publish(exchange, key, key.encode())
    assert bodies(channel, queue) == [key.encode() for key in matched]


HEADERS_MESSAGES = {
    b"none": None,
    b"red": {"colour": "red"},
    b"red 1": {"colour": "red", "size": 1},
    b"red one": {"colour": "red", "size": "1"},
    b"blue 1": {"colour": "blue", "size": 1},
    b"x": {"x-kind": "k"},
    b"red x": {"colour": "red", "x-kind": "k"},
}


@pytest.mark.parametrize(
    "arguments, matched",
    [
        ({}, list(HEADERS_MESSAGES)),
        ({"x-match": "any"}, []),
        ({"colour": "red", "size": 1}, [b"red 1"]),
        ({"x-match": "all", "colour": "red"}, [b"red", b"red 1", b"red one", b"red x"]),
        ({"x-match": "any", "colour": "red", "size": 1}, [b"red", b"red 1", b"red one", b"blue 1", b"red x"]),
        ({"size": None}, [b"red 1", b"red one", b"blue 1"]),
        ({"x-kind": "k"}, list(HEADERS_MESSAGES)),
        ({"x-match": "all-with-x", "x-kind": "k", "colour": "red"}, [b"red x"]),
        ({"x-match": "any-with-x", "x-kind": "k"}, [b"x", b"red x"]),
    ],
)
def test_headers_exchange_compares_the_binding_arguments(channel, names, arguments, matched):
    exchange = declare(channel, names, "headers")
    queue = bound_queue(channel, names, exchange, "ignored", arguments)
    for body, headers in HEADERS_MESSAGES.items():
        channel.basic_publish(exchange, "", body, pika.BasicProperties(headers=headers))
    assert bodies(channel, queue) == matched


@pytest.mark.parametrize(
    "exchange, kind",
    [
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.topic", "topic"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
    ],
)
def test_predeclared_exchange_is_durable_and_routes(channel, names, exchange, kind):
    channel.exchange_declare(exchange, kind, durable=True)
    key = names.queue()
    channel.queue_declare(key)
    channel.queue_bind(key, exchange, key, {"to": key})
    channel.basic_publish(exchange, key, b"hello", pika.BasicProperties(headers={"to": key}))
    assert bodies(channel, key) == [b"hello"]


def test_exchange_to_exchange_binding_routes_on(channel, names):
    source = declare(channel, names, "topic")
    destination = declare(channel, names, "fanout")
    channel.exchange_bind(destination, source, "order.*")
    queue = bound_queue(channel, names, destination)
    channel.basic_publish(source, "order.placed", b"yes")
    channel.basic_publish(source, "stock.low", b"no")
    channel.exchange_unbind(destination, source, "order.*")
    channel.basic_publish(source, "order.placed", b"late")
    assert bodies(channel, queue) == [b"yes"]


def test_exchange_cycle_delivers_once(channel, names):
    one, two = declare(channel, names, "fanout"), declare(channel, names, "fanout")
    channel.exchange_bind(one, two)
    channel.exchange_bind(two, one)
    channel.exchange_bind(one, one)
    queue = bound_queue(channel, names, one)
    channel.queue_bind(queue, two, "")
    channel.basic_publish(two, "", b"round")
    assert bodies(channel, queue) == [b"round"]


def test_queue_gets_one_copy_however_many_bindings_match(channel, names):
    exchange = declare(channel, names, "topic")
    queue = bound_queue(channel, names, exchange, "a.#")
    channel.queue_bind(queue, exchange, "*.b")
    channel.queue_bind(queue, exchange, "*.b")
    channel.basic_publish(exchange, "a.b", b"once")
    assert bodies(channel, queue) == [b"once"]


def test_unbound_queue_gets_nothing_and_unbinding_twice_is_fine(channel, names):
    exchange = declare(channel, names, "direct")
    queue = bound_queue(channel, names, exchange, "k")
    channel.queue_unbind(queue, exchange, "k")
    channel.queue_unbind(queue, exchange, "k")
    channel.queue_unbind(queue + "-missing", exchange, "k")
    channel.basic_publish(exchange, "k", b"gone")
    assert counts(channel, queue)[0] == 0


def test_unrouted_message_takes_the_alternate_exchange(channel, names):
    alternate = declare(channel, names, "fanout")
    exchange = declare(channel, names, "direct", arguments={"alternate-exchange": alternate})
    routed = bound_queue(channel, names, exchange, "known")
    rest = bound_queue(channel, names, alternate)
    channel.confirm_delivery()
    channel.basic_publish(exchange, "known", b"1", mandatory=True)
    channel.basic_publish(exchange, "unknown", b"2", mandatory=True)
    assert (bodies(channel, routed), bodies(channel, rest)) == ([b"1"], [b"2"])


def test_internal_exchange_is_reached_through_bindings_only(channel, names):
    internal = declare(channel, names, "fanout", internal=True)
    public = declare(channel, names, "fanout")
    channel.exchange_bind(internal, public)
    queue = bound_queue(channel, names, internal)
    channel.basic_publish(public, "", b"through")
    assert bodies(channel, queue) == [b"through"]
    assert publish_error(channel, internal, "", b"direct") == (
        403,
        f"ACCESS_REFUSED - cannot publish to internal exchange '{internal}' in vhost '/'",
    )


def test_auto_delete_exchange_goes_with_its_last_binding(channel, names):
    exchange = declare(channel, names, "direct", auto_delete=True)
    channel.exchange_declare(exchange, passive=True)
    queue = bound_queue(channel, names, exchange, "k")
    channel.queue_bind(queue, exchange, "l")
    channel.queue_unbind(queue, exchange, "k")
    channel.exchange_declare(exchange, passive=True)
    channel.queue_delete(queue)
    assert channel_error(channel.exchange_declare, exchange, passive=True)[0] == 404


def test_cc_and_bcc_add_routing_keys_and_bcc_is_taken_out(channel, names):
    exchange = declare(channel, names, "direct")
    queues = [bound_queue(channel, names, exchange, key) for key in ("to", "cc", "bcc")]
    headers = {"CC": ["cc"], "BCC": ["bcc"], "kept": 1}
    channel.basic_publish(exchange, "to", b"letter", pika.BasicProperties(headers=headers))
    for queue in queues:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        assert (method.routing_key, body) == ("to", b"letter")
        assert properties.headers == {"CC": ["cc"], "kept": 1}


def test_deleted_exchange_takes_its_bindings_along(channel, names):
    exchange = declare(channel, names, "fanout")
    queue = bound_queue(channel, names, exchange)
    channel.exchange_delete(exchange)
    channel.exchange_declare(exchange, "fanout")
    channel.basic_publish(exchange, "", b"nowhere")
    assert counts(channel, queue)[0] == 0
    channel.exchange_delete(exchange + "-missing")
