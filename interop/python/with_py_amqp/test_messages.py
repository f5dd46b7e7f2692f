"""Routing, publishing, consuming and settling."""

import datetime
import decimal
import os

import amqp
import pytest

from py_amqp_words import bodies, connect, publish, wait_until


@pytest.mark.parametrize(
    "kind, key, arguments, sent_key, headers",
    [
        ("direct", "red", None, "red", {}),
        ("fanout", "", None, "any", {}),
        ("topic", "*.order.#", None, "eu.order", {}),
        ("headers", "", {"x-match": "any", "a": 1, "b": 2}, "", {"a": 1}),
    ],
)
def test_each_exchange_type_routes(channel, queue, names, kind, key, arguments, sent_key, headers):
    exchange, source = names.exchange(), names.exchange()
    channel.exchange_declare(exchange, kind, auto_delete=False)
    channel.exchange_declare(source, "fanout", auto_delete=False, nowait=True)
    channel.exchange_bind(exchange, source)
    channel.queue_bind(queue, exchange, key, arguments=arguments)
    publish(channel, sent_key, b"straight", exchange=exchange, application_headers=headers)
    publish(channel, sent_key, b"through", exchange=source, application_headers=headers)
    channel.queue_unbind(queue, exchange, key, arguments=arguments)
    channel.exchange_unbind(exchange, source)
    publish(channel, sent_key, b"unbound", exchange=exchange, application_headers=headers)
    assert bodies(channel, queue) == [b"straight", b"through"]


def test_confirmed_publish_waits_for_its_ack(broker, names):
    with connect(broker, confirm_publish=True) as connection:
        channel, queue = connection.channel(), names.queue()
        channel.queue_declare(queue, durable=True, auto_delete=False)
        publish(channel, queue, *[b"%d" % number for number in range(50)], delivery_mode=2)
        publish(channel, queue + "-missing", b"nowhere")
        assert len(bodies(channel, queue)) == 50


def test_unroutable_mandatory_publish_is_returned(connection, channel, names):
    returned = []
    channel.events["basic_return"].add(lambda *fields: returned.append(fields))
    key = names.queue()
    channel.basic_publish(amqp.Message(b"back", message_id="m"), "amq.direct", key, mandatory=True)
    wait_until(connection, lambda: returned)
    [(error, exchange, routing_key, message)] = returned
    assert (error.reply_code, error.reply_text, exchange, routing_key) == (312, "NO_ROUTE", "amq.direct", key)
    assert (message.body, message.properties["message_id"]) == (b"back", "m")


def test_prefetch_bounds_the_unacked(connection, channel, queue):
    publish(channel, queue, b"1", b"2", b"3")
    channel.basic_qos(0, 2, False)
    got = []
    channel.basic_consume(queue, callback=got.append)
    wait_until(connection, lambda: len(got) == 2)
    assert channel.queue_declare(queue, passive=True).message_count == 1
    channel.basic_ack(got[0].delivery_tag)
    wait_until(connection, lambda: len(got) == 3)
    assert [message.body for message in got] == [b"1", b"2", b"3"]


def test_global_prefetch_takes_effect_on_running_consumers(connection, channel, queue):
    got = []
    channel.basic_qos(0, 1, True)
    channel.basic_consume(queue, callback=got.append)
    publish(channel, queue, b"1", b"2", b"3")
    wait_until(connection, lambda: len(got) == 1)
    channel.basic_qos(0, 3, True)
    wait_until(connection, lambda: len(got) == 3)
    assert [message.body for message in got] == [b"1", b"2", b"3"]


def test_requeued_messages_return_in_place_and_rejected_ones_go(channel, queue):
    publish(channel, queue, b"1", b"2", b"3", b"4")
    one, two, three = [channel.basic_get(queue).delivery_tag for _ in range(3)]
    channel.basic_reject(three, requeue=True)
    channel.basic_reject(one, requeue=True)
    channel.basic_reject(two, requeue=False)
    taken = [channel.basic_get(queue, no_ack=True) for _ in range(3)]
    assert [(message.body, message.delivery_info["redelivered"]) for message in taken] == [
        (b"1", True),
        (b"3", True),
        (b"4", False),
    ]
    assert channel.basic_get(queue) is None


def test_recover_delivers_the_unacked_again(connection, channel, queue):
    publish(channel, queue, b"1", b"2")
    got = []
    channel.basic_consume(queue, callback=got.append)
    wait_until(connection, lambda: len(got) == 2)
    channel.basic_recover(requeue=True)
    wait_until(connection, lambda: len(got) == 4)
    assert [(message.body, message.delivery_info["redelivered"]) for message in got[2:]] == [
        (b"1", True),
        (b"2", True),
    ]


def test_tx_commits_and_rolls_back(connection, channel, queue):
    channel.tx_select()
    publish(channel, queue, b"dropped")
    channel.tx_rollback()
    publish(channel, queue, b"kept")
    assert channel.queue_declare(queue, passive=True).message_count == 0
    channel.tx_commit()
    assert bodies(connection.channel(), queue) == [b"kept"]


def test_server_cancels_consumers_of_a_deleted_queue(connection, channel, queue):
    cancelled = []
    tag = channel.basic_consume(queue, callback=print, on_cancel=cancelled.append)
    connection.channel().queue_delete(queue)
    wait_until(connection, lambda: cancelled)
    assert cancelled == [tag]


def test_cancelled_consumer_gets_nothing_more(channel, queue):
    got = []
    channel.basic_cancel(channel.basic_consume(queue, callback=got.append))
    publish(channel, queue, b"later")
    assert bodies(channel, queue) == [b"later"]
    assert got == []


def test_rpc_with_a_server_named_reply_queue(broker, connection, channel, queue):
    with connect(broker) as asking:
        client, replies = asking.channel(), []
        reply_queue = client.queue_declare(exclusive=True).queue
        client.basic_consume(reply_queue, no_ack=True, callback=replies.append)
        publish(client, queue, b"6", reply_to=reply_queue, correlation_id="c")
        questions = []
        channel.basic_consume(queue, no_ack=True, callback=questions.append)
        wait_until(connection, lambda: questions)
        properties = questions[0].properties
        publish(channel, properties["reply_to"], b"36", correlation_id=properties["correlation_id"])
        wait_until(asking, lambda: replies)
    assert (replies[0].body, replies[0].properties["correlation_id"]) == (b"36", "c")


@pytest.mark.parametrize("size", [0, 5 << 20])
def test_large_and_empty_bodies_come_back(channel, queue, size):
    sent = os.urandom(size)
    publish(channel, queue, sent)
    # py-amqp gives an empty body as the empty str.
    assert (channel.basic_get(queue, no_ack=True).body or b"") == sent


def test_properties_and_nested_headers_come_back(channel, queue):
    headers = {
        "int": -5,
        "long": 2**40,
        "float": 2.5,
        "bool": True,
        "none": None,
        "bytes": b"\x00\xff",
        "decimal": decimal.Decimal("1.25"),
        "time": datetime.datetime(2026, 11, 21, 3, 4, 5),
        "list": ["a", 1, [True, {"deep": None}]],
        "table": {"in": {"side": {"x": [1, 2**40, 3]}}},
    }
    properties = {
        "application_headers": headers,
        "content_type": "text/plain",
        "content_encoding": "binary",
        "delivery_mode": 2,
        "priority": 4,
        "correlation_id": "c",
        "reply_to": "r",
        "expiration": "60000",
        "message_id": "m",
        "timestamp": 1_700_000_000,
        "type": "t",
        "user_id": "guest",
        "app_id": "a",
        "cluster_id": "k",
    }
    publish(channel, queue, b"", **properties)
    assert channel.basic_get(queue, no_ack=True).properties == properties
