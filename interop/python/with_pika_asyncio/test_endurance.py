"""Idle pauses and lost brokers."""

import asyncio

import pika
import pika.exceptions
import pytest

from pika_asyncio import Session, receive

IDLE_S = 4


async def test_heartbeats_keep_an_idle_connection(broker, names):
    session, queue = await Session.open(broker, heartbeat=1), names.queue()
    await session.channel.call("queue_declare", queue)
    _, inbox = await session.channel.consume(queue, auto_ack=True)
    await asyncio.sleep(IDLE_S)
    session.channel.raw.basic_publish("", queue, b"still here")
    assert [body for _, _, body in await receive(inbox)] == [b"still here"]
    await session.close()


@pytest.mark.needs_own_broker
async def test_client_reconnects_after_a_kill_and_finds_its_durable_messages(own_broker):
    session = await Session.open(own_broker)
    await session.channel.call("queue_declare", "work", durable=True)
    confirmed = asyncio.Queue()
    await session.channel.call("confirm_delivery", confirmed.put_nowait)
    for number in range(20):
        session.channel.raw.basic_publish("", "work", b"%d" % number, pika.BasicProperties(delivery_mode=2))
    tag = 0
    while tag < 20:
        tag = (await asyncio.wait_for(confirmed.get(), 10)).method.delivery_tag
    assert await session.channel.get("work") is not None
    own_broker.kill()
    assert isinstance(await session.lost(), pika.exceptions.AMQPConnectionError)
    own_broker.start()
    again = await Session.open(own_broker)
    method, _, body = await again.channel.get("work", auto_ack=True)
    assert (method.redelivered, body) == (True, b"0")
    assert await again.channel.bodies("work") == [b"%d" % number for number in range(1, 20)]
    await again.close()
