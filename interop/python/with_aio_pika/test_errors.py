"""Refusals as aio-pika's exceptions."""

import aio_pika
import aio_pika.exceptions
import aiormq.exceptions
import pamqp.commands
import pytest

from aio_pika_words import publish, url


async def test_missing_queue_is_not_found(connection):
    channel = await connection.channel()
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity) as missing:
        await channel.get_queue("python-none")
    assert str(missing.value) == "NOT_FOUND - no queue 'python-none' in vhost '/'"
    await (await connection.channel()).declare_queue(exclusive=True)


async def test_other_durability_fails_the_precondition(connection, names):
    name = names.queue()
    await (await connection.channel()).declare_queue(name)
    with pytest.raises(aio_pika.exceptions.ChannelPreconditionFailed) as mismatch:
        await (await connection.channel()).declare_queue(name, durable=True)
    assert "inequivalent arg 'durable'" in str(mismatch.value)


async def test_exclusive_queue_of_another_connection_is_locked(broker, connection, names):
    queue = await (await connection.channel()).declare_queue(names.queue(), exclusive=True)
    async with await aio_pika.connect(url(broker)) as other:
        with pytest.raises(aiormq.exceptions.ChannelLockedResource):
            await (await other.channel()).get_queue(queue.name)


async def test_user_without_permission_is_refused(broker):
    async with await aio_pika.connect(url(broker, user="limited")) as connection:
        with pytest.raises(aiormq.exceptions.ChannelAccessRefused) as refused:
            await (await connection.channel()).declare_queue("python-q")
        assert "access to queue 'python-q' in vhost '/' refused for user 'limited'" in str(refused.value)


async def test_publish_to_a_missing_exchange_raises(channel):
    exchange = await channel.get_exchange("python-none", ensure=False)
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await publish(channel, "k", b"", exchange=exchange)


@pytest.mark.parametrize("user, vhost", [("limited", "other"), ("guest", "python-none")])
async def test_forbidden_or_missing_vhost_ends_the_handshake(broker, user, vhost):
    # aiormq waits for open-ok only, and calls the broker's close an invalid frame.
    with pytest.raises(aio_pika.exceptions.InvalidFrameError, match="Connection.Close"):
        await aio_pika.connect(url(broker, user=user, vhost=vhost))


async def test_reused_consumer_tag_is_not_allowed(broker, names):
    connection = await aio_pika.connect(url(broker))
    channel = await connection.channel()
    queue = await channel.declare_queue(names.queue())
    await queue.consume(print, consumer_tag="mine")
    # aiormq would refuse the second use itself, so the method goes past it.
    raw = await channel.get_underlay_channel()
    with pytest.raises(aiormq.exceptions.ConnectionNotAllowed) as closed:
        await raw.rpc(pamqp.commands.Basic.Consume(queue=queue.name, consumer_tag="mine"))
    assert "attempt to reuse consumer tag 'mine'" in str(closed.value)


async def test_wrong_password_is_an_authentication_error(broker):
    with pytest.raises(aio_pika.exceptions.ProbableAuthenticationError):
        await aio_pika.connect(host=broker.host, port=broker.port, login="guest", password="wrong")
