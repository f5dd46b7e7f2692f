"""Routing, publishing and consuming through callbacks."""

import asyncio
import os

import pika
import pytest

from pika_asyncio import DEADLINE_S, Session, receive


@pytest.mark.parametrize(
    "kind, key, arguments, sent_key, headers",
    [
        ("direct", "red", None, "red", None),
        ("fanout", "", None, "any", None),
        ("topic", "order.*", None, "order.placed", None),
        ("headers", "", {"x-match": "any", "a": 1, "b": 2}, "", {"b": 2}),
    ],
)
async def test_each_exchange_type_routes(session, names, kind, key, arguments, sent_key, headers):
    channel, queue, exchange, source = session.channel, names.queue(), names.exchange(), names.exchange()
    await channel.call("exchange_declare", exchange, kind)
    await channel.call("exchange_declare", source, "fanout")
    await channel.call("exchange_bind", exchange, source)
    await channel.call("queue_declare", queue)
    await channel.call("queue_bind", queue, exchange, key, arguments)
    properties = pika.BasicProperties(headers=headers)
    channel.raw.basic_publish(exchange, sent_key, b"straight", properties)
    channel.raw.basic_publish(source, sent_key, b"through", properties)
    if kind != "fanout":
        channel.raw.basic_publish(exchange, "order", b"elsewhere")
    assert await channel.bodies(queue) == [b"straight", b"through"]


async def test_confirms_cover_every_publish_and_returns_come_first(session, names):
    channel, queue = session.channel, names.queue()
    await channel.call("queue_declare", queue)
    outstanding, all_confirmed, returned_before_ack = set(range(1, 52)), asyncio.Event(), []

    def on_confirm(frame):
        assert isinstance(frame.method, pika.spec.Basic.Ack)
        tag, multiple = frame.method.delivery_tag, frame.method.multiple
        settled = {other for other in outstanding if other <= tag} if multiple else {tag}
        assert settled <= outstanding
        outstanding.difference_update(settled)
        if 51 in settled:
            returned_before_ack.extend(channel.returned)
        if not outstanding:
            all_confirmed.set()

    await channel.call("confirm_delivery", on_confirm)
    for number in range(50):
        channel.raw.basic_publish("", queue, b"%d" % number)
    channel.raw.basic_publish("", queue + "-missing", b"back", mandatory=True)
    await asyncio.wait_for(all_confirmed.wait(), DEADLINE_S)
    [(method, _, body)] = returned_before_ack
    assert (method.reply_code, method.reply_text, body) == (312, "NO_ROUTE", b"back")
    assert len(await channel.bodies(queue)) == 50


async def test_prefetch_and_settling(session, names):
    channel, queue = session.channel, names.queue()
    await channel.call("queue_declare", queue)
    for body in (b"1", b"2", b"3", b"4"):
        channel.raw.basic_publish("", queue, body)
    await channel.call("basic_qos", prefetch_count=2)
    tag, inbox = await channel.consume(queue)
    first, second = await receive(inbox, 2)
    assert await channel.ready(queue) == 2 and inbox.empty()
    channel.raw.basic_ack(first[0].delivery_tag)
    [third] = await receive(inbox)
    assert (second[2], third[2]) == (b"2", b"3")
    await channel.call("basic_cancel", tag)
    channel.raw.basic_reject(third[0].delivery_tag, requeue=True)
    channel.raw.basic_nack(second[0].delivery_tag, requeue=True)
    taken = [await channel.get(queue, auto_ack=True) for _ in range(3)]
    assert [(body, method.redelivered) for method, _, body in taken] == [(b"2", True), (b"3", True), (b"4", False)]
    assert await channel.get(queue) is None


async def test_tx_commits_and_rolls_back(session, names):
    channel, queue = session.channel, names.queue()
    await channel.call("queue_declare", queue)
    await channel.call("tx_select")
    channel.raw.basic_publish("", queue, b"dropped")
    await channel.call("tx_rollback")
    channel.raw.basic_publish("", queue, b"kept")
    assert await channel.ready(queue) == 0
    await channel.call("tx_commit")
    assert await (await session.new_channel()).bodies(queue) == [b"kept"]


async def test_server_cancels_consumers_of_a_deleted_queue(session, names):
    channel, queue = session.channel, names.queue()
    await channel.call("queue_declare", queue)
    tag, _ = await channel.consume(queue)
    await (await session.new_channel()).call("queue_delete", queue)
    await channel.call("basic_qos")
    assert channel.cancelled == [tag]


async def test_rpc_over_two_connections(broker, session, names):
    queue = names.queue()
    await session.channel.call("queue_declare", queue)
    client = await Session.open(broker)
    reply_queue = (await client.channel.call("queue_declare", "", exclusive=True)).queue
    _, replies = await client.channel.consume(reply_queue, auto_ack=True)
    properties = pika.BasicProperties(reply_to=reply_queue, correlation_id="7")
    client.channel.raw.basic_publish("", queue, b"question", properties)
    _, questions = await session.channel.consume(queue, auto_ack=True)
    [(_, question, _)] = await receive(questions)
    answer = pika.BasicProperties(correlation_id=question.correlation_id)
    session.channel.raw.basic_publish("", question.reply_to, b"answer", answer)
    [(_, properties, body)] = await receive(replies)
    assert (properties.correlation_id, body) == ("7", b"answer")
    await client.close()


@pytest.mark.parametrize("size", [0, 5 << 20])
async def test_large_and_empty_bodies_are_delivered_whole(session, names, size):
    channel, queue, sent = session.channel, names.queue(), os.urandom(size)
    await channel.call("queue_declare", queue)
    _, inbox = await channel.consume(queue, auto_ack=True)
    headers = {"nested": {"list": [1, "two", None, True]}}
    channel.raw.basic_publish("", queue, sent, pika.BasicProperties(headers=headers))
    [(_, properties, body)] = await receive(inbox)
    assert (body == sent, properties.headers) == (True, headers)


async def test_publishing_and_consuming_at_once_loses_nothing(session, names):
    channel, queue = session.channel, names.queue()
    await channel.call("queue_declare", queue)
    await channel.call("basic_qos", prefetch_count=50)
    _, inbox = await channel.consume(queue)
    publishing = await session.new_channel()
    expected = [b"%d" % number for number in range(5000)]
    for body in expected:
        publishing.raw.basic_publish("", queue, body)
    got = []
    while len(got) < len(expected):
        [(method, _, body)] = await receive(inbox)
        channel.raw.basic_ack(method.delivery_tag)
        got.append(body)
    assert got == expected
