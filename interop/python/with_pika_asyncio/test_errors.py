"""Refusals as pika's close callbacks report them."""

import pika
import pika.exceptions
import pytest

from pika_asyncio import Session


@pytest.mark.parametrize(
    "verb, args, options, code",
    [
        ("queue_declare", ["python-none"], {"passive": True}, 404),
        ("queue_declare", ["amq.mine"], {}, 403),
        ("exchange_declare", ["amq.direct", "direct"], {}, 406),
    ],
)
async def test_channel_error_reaches_the_close_callback(session, verb, args, options, code):
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        await session.channel.call(verb, *args, **options)
    assert closed.value.reply_code == code
    assert (await session.new_channel()).raw.is_open


async def test_exclusive_queue_is_locked_for_another_connection(broker, session, names):
    queue = names.queue()
    await session.channel.call("queue_declare", queue, exclusive=True)
    other = await Session.open(broker)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        await other.channel.call("queue_purge", queue)
    assert closed.value.reply_code == 405
    await other.close()


async def test_publish_to_a_missing_exchange_closes_the_channel(session):
    session.channel.raw.basic_publish("python-none", "k", b"")
    assert await session.channel.close_reason() == (404, "NOT_FOUND - no exchange 'python-none' in vhost '/'")


async def test_forbidden_publish_closes_the_channel(broker):
    session = await Session.open(broker, user="limited")
    session.channel.raw.basic_publish("amq.direct", "k", b"")
    assert (await session.channel.close_reason())[0] == 403
    await session.close()


async def test_connection_error_reaches_the_close_callback(session, names):
    queue = names.queue()
    await session.channel.call("queue_declare", queue)
    await session.channel.consume(queue, consumer_tag="mine")
    session.channel.raw._consumers.pop("mine")
    session.channel.raw.basic_consume(queue, print, consumer_tag="mine")
    reason = await session.lost()
    assert isinstance(reason, pika.exceptions.ConnectionClosedByBroker)
    assert (reason.reply_code, reason.reply_text) == (530, "NOT_ALLOWED - attempt to reuse consumer tag 'mine'")


async def test_forbidden_vhost_is_reported_at_open(broker):
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError):
        await Session.open(broker, user="limited", virtual_host="other")
