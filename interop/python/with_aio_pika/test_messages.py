"""Routing, publishing, consuming and settling."""

import asyncio
import datetime
import os

import aio_pika
import aio_pika.exceptions
import pytest

from aio_pika_words import DEADLINE_S, Inbox, bodies, publish, soon, url


@pytest.mark.parametrize(
    "kind, key, arguments, sent_key, headers",
    [
        ("direct", "red", None, "red", {}),
        ("fanout", "", None, "any", {}),
        ("topic", "#.placed", None, "eu.order.placed", {}),
        ("headers", "", {"x-match": "all", "a": 1, "b": "two"}, "", {"a": 1, "b": "two", "c": None}),
    ],
)
async def test_each_exchange_type_routes(channel, names, kind, key, arguments, sent_key, headers):
    exchange = await channel.declare_exchange(names.exchange(), kind)
    source = await channel.declare_exchange(names.exchange(), "fanout")
    await exchange.bind(source)
    queue = await channel.declare_queue(names.queue())
    await queue.bind(exchange, key, arguments=arguments)
    for through in (exchange, source):
        await publish(channel, sent_key, through.name.encode(), exchange=through, headers=headers)
    assert await bodies(queue) == [exchange.name.encode(), source.name.encode()]
    await queue.unbind(exchange, key, arguments=arguments)
    with pytest.raises(aio_pika.exceptions.PublishError):
        await publish(channel, sent_key, b"unbound", exchange=exchange, headers=headers)


async def test_concurrent_publishes_are_all_confirmed(channel, names):
    queue = await channel.declare_queue(names.queue(), durable=True)
    messages = [aio_pika.Message(b"%d" % number, delivery_mode=2) for number in range(500)]
    await soon(asyncio.gather(*[channel.default_exchange.publish(message, queue.name) for message in messages]))
    assert len(await bodies(queue)) == 500


async def test_unroutable_mandatory_publish_raises_with_the_returned_message(channel, names):
    with pytest.raises(aio_pika.exceptions.PublishError) as returned:
        await publish(channel, names.queue(), b"back", message_id="m-1")
    delivered = returned.value.message
    assert (delivered.delivery.reply_code, delivered.delivery.reply_text) == (312, "NO_ROUTE")
    assert (delivered.body, delivered.header.properties.message_id) == (b"back", "m-1")


async def test_prefetch_bounds_the_unacked(channel, names):
    queue = await channel.declare_queue(names.queue())
    await publish(channel, queue.name, b"1", b"2", b"3")
    await channel.set_qos(prefetch_count=2)
    inbox = Inbox(queue)
    await inbox.start()
    first, second = await inbox.receive(2)
    declared = await channel.declare_queue(queue.name, passive=True)
    assert declared.declaration_result.message_count == 1 and inbox.messages.empty()
    await first.ack()
    [third] = await inbox.receive(1)
    assert (second.body, third.body) == (b"2", b"3")


async def test_requeued_messages_return_in_place_and_rejected_ones_go(channel, names):
    queue = await channel.declare_queue(names.queue())
    await publish(channel, queue.name, b"1", b"2", b"3", b"4")
    one, two, three = [await queue.get() for _ in range(3)]
    await three.nack(requeue=True)
    await one.reject(requeue=True)
    await two.reject(requeue=False)
    taken = [await queue.get(no_ack=True) for _ in range(3)]
    assert [(message.body, message.redelivered) for message in taken] == [(b"1", True), (b"3", True), (b"4", False)]
    with pytest.raises(aio_pika.exceptions.QueueEmpty):
        await queue.get()


async def test_message_whose_processing_fails_comes_back(channel, names):
    queue = await channel.declare_queue(names.queue())
    await publish(channel, queue.name, b"task")
    with pytest.raises(ZeroDivisionError):
        async with (await queue.get()).process(requeue=True):
            raise ZeroDivisionError
    async with (await queue.get()).process() as again:
        assert (again.body, again.redelivered) == (b"task", True)
    assert await queue.get(fail=False) is None


async def test_transaction_commits_at_the_end_of_its_block_and_rolls_back_on_an_error(connection, names):
    channel = await connection.channel(publisher_confirms=False)
    queue = await channel.declare_queue(names.queue())
    async with channel.transaction():
        await publish(channel, queue.name, b"kept")
        assert await queue.get(fail=False) is None
    with pytest.raises(ZeroDivisionError):
        async with channel.transaction():
            await publish(channel, queue.name, b"dropped")
            raise ZeroDivisionError
    async with channel.transaction():
        await publish(channel, queue.name, b"kept too")
    assert await bodies(queue) == [b"kept", b"kept too"]


async def test_server_named_exclusive_queue_serves_rpc(broker, channel, names):
    queue = await channel.declare_queue(names.queue())

    async def square(message):
        async with message.process():
            answer = aio_pika.Message(b"%d" % int(message.body) ** 2, correlation_id=message.correlation_id)
            await channel.default_exchange.publish(answer, message.reply_to)

    await queue.consume(square)
    async with await aio_pika.connect(url(broker)) as asking:
        client = await asking.channel()
        reply_queue = await client.declare_queue(exclusive=True)
        assert reply_queue.name.startswith("amq.gen-")
        replies = Inbox(reply_queue)
        await replies.start(no_ack=True)
        for number in range(10):
            await publish(
                client, queue.name, b"%d" % number, correlation_id=str(number), reply_to=reply_queue.name
            )
        answers = {message.correlation_id: int(message.body) for message in await replies.receive(10)}
    assert answers == {str(number): number**2 for number in range(10)}


async def test_cancelled_consumer_gets_nothing_more(channel, names):
    queue = await channel.declare_queue(names.queue())
    inbox = Inbox(queue)
    tag = await inbox.start()
    await queue.cancel(tag)
    await publish(channel, queue.name, b"later")
    assert await bodies(queue) == [b"later"]
    assert inbox.messages.empty()


async def test_iterator_hands_out_messages_in_order(channel, names):
    queue = await channel.declare_queue(names.queue())
    expected = [b"%d" % number for number in range(100)]
    await publish(channel, queue.name, *expected)
    taken = []
    async with asyncio.timeout(DEADLINE_S), queue.iterator() as messages:
        async for message in messages:
            await message.ack()
            taken.append(message.body)
            if len(taken) == 100:
                break
    assert taken == expected


@pytest.mark.parametrize("size", [0, 5 << 20])
async def test_large_and_empty_bodies_come_back(channel, names, size):
    queue, sent = await channel.declare_queue(names.queue()), os.urandom(size)
    await publish(channel, queue.name, sent)
    assert (await queue.get(no_ack=True)).body == sent


async def test_properties_and_nested_headers_come_back(channel, names):
    queue = await channel.declare_queue(names.queue())
    moment = datetime.datetime(2026, 11, 21, 3, 4, 5, tzinfo=datetime.timezone.utc)
    headers = {
        "octet": 5,
        "short": 300,
        "int": 70_000,
        "long": -(2**40),
        "float": 2.5,
        "bool": True,
        "none": None,
        "bytes": bytearray(b"\x00\xff"),
        "time": moment,
        "list": ["a", 1, [True, {"deep": None}]],
        "table": {"in": {"side": {"x": [1, 2, 3]}}},
    }
    properties = {
        "headers": headers,
        "content_type": "text/plain",
        "content_encoding": "utf-8",
        "delivery_mode": aio_pika.DeliveryMode.PERSISTENT,
        "priority": 4,
        "correlation_id": "c",
        "reply_to": "r",
        "expiration": 60,
        "message_id": "m",
        "timestamp": moment,
        "type": "t",
        "user_id": "guest",
        "app_id": "a",
    }
    await publish(channel, queue.name, b"", **properties)
    message = await queue.get(no_ack=True)
    for name, value in properties.items():
        assert getattr(message, name) == value, name
    assert {key: type(value) for key, value in message.headers.items()} == {
        key: type(value) for key, value in headers.items()
    }
