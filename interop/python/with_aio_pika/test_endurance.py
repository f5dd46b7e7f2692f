"""Idle pauses, and the robust connection that comes back by itself."""

import asyncio

import aio_pika
import pytest

from aio_pika_words import Inbox, bodies, publish, soon, url

IDLE_S = 4


async def test_heartbeats_keep_an_idle_connection(broker, names):
    async with await aio_pika.connect(url(broker, heartbeat=1)) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(names.queue())
        inbox = Inbox(queue)
        await inbox.start(no_ack=True)
        await asyncio.sleep(IDLE_S)
        await publish(channel, queue.name, b"still here")
        assert [message.body for message in await inbox.receive(1)] == [b"still here"]


@pytest.mark.needs_own_broker
async def test_plain_connection_finds_durable_messages_after_a_kill(own_broker):
    connection = await aio_pika.connect(url(own_broker))
    channel = await connection.channel()
    queue = await channel.declare_queue("work", durable=True)
    await publish(channel, "work", b"1", b"2", b"3", delivery_mode=2)
    await queue.get()
    lost = asyncio.Event()
    connection.close_callbacks.add(lambda *_: lost.set())
    own_broker.kill()
    await soon(lost.wait())
    own_broker.start()
    async with await aio_pika.connect(url(own_broker)) as again:
        queue = await (await again.channel()).declare_queue("work", durable=True)
        first = await queue.get(no_ack=True)
        assert (first.body, first.redelivered) == (b"1", True)
        assert await bodies(queue) == [b"2", b"3"]


@pytest.mark.needs_own_broker
async def test_robust_connection_restores_its_topology_and_consumers(own_broker):
    connection = await aio_pika.connect_robust(url(own_broker, reconnect_interval=0.1))
    restored = asyncio.Event()
    connection.reconnect_callbacks.add(lambda *_: restored.set())
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=1)
    exchange = await channel.declare_exchange("orders", "topic", durable=True)
    durable = await channel.declare_queue("durable", durable=True)
    await durable.bind(exchange, "order.*")
    temporary = await channel.declare_queue(exclusive=True)
    await temporary.bind(exchange, "order.#")
    durable_inbox, temporary_inbox = Inbox(durable), Inbox(temporary)
    await durable_inbox.start()
    await temporary_inbox.start(no_ack=True)
    await publish(channel, "order.placed", b"held", exchange=exchange, delivery_mode=2)
    [held] = await durable_inbox.receive(1)
    [seen] = await temporary_inbox.receive(1)
    assert (held.redelivered, seen.body) == (False, b"held")

    own_broker.kill()
    own_broker.start()
    await soon(restored.wait())
    await soon(channel.ready())

    [again] = await durable_inbox.receive(1)
    assert (again.body, again.redelivered) == (b"held", True)
    await again.ack()
    await publish(channel, "order.paid", b"after", exchange=exchange, delivery_mode=2)
    assert [message.body for message in await durable_inbox.receive(1)] == [b"after"]
    assert [message.body for message in await temporary_inbox.receive(1)] == [b"after"]
    await connection.close()
