"""pika's asyncio adapter with its callbacks turned into awaitables, each with a deadline.

A call that the broker answers with a close raises the reason that pika gives to its close callbacks.
"""

import asyncio

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

DEADLINE_S = 15


class Session:
    """One connection and its first channel."""

    def __init__(self, connection, closed):
        self.connection = connection
        self.channel = None
        self._closed = closed

    @classmethod
    async def open(cls, broker, user="guest", **parameters):
        """Connect and open a channel, or raise what the adapter reports."""
        loop = asyncio.get_running_loop()
        opened, closed = loop.create_future(), loop.create_future()
        credentials = pika.PlainCredentials(user, user)
        connection = AsyncioConnection(
            pika.ConnectionParameters(broker.host, broker.port, credentials=credentials, **parameters),
            on_open_callback=lambda _connection: opened.set_result(None),
            on_open_error_callback=lambda _connection, reason: opened.set_exception(reason),
            on_close_callback=lambda _connection, reason: closed.set_result(reason),
            custom_ioloop=loop,
        )
        await asyncio.wait_for(opened, DEADLINE_S)
        session = cls(connection, closed)
        session.channel = await session.new_channel()
        return session

    async def new_channel(self):
        """Open another channel."""
        opened = asyncio.get_running_loop().create_future()
        self.connection.channel(on_open_callback=opened.set_result)
        return Channel(await asyncio.wait_for(opened, DEADLINE_S))

    async def close(self):
        """Close the connection if it is open."""
        if self.connection.is_open:
            self.connection.close()
        await self.lost()

    async def lost(self):
        """Wait until the connection is gone and return the reason."""
        return await asyncio.wait_for(asyncio.shield(self._closed), DEADLINE_S)


class Channel:
    """A channel whose verbs can be awaited."""

    def __init__(self, raw):
        self.raw = raw
        self.returned = []
        self.cancelled = []
        self._taken = None
        self._closed = asyncio.get_running_loop().create_future()
        raw.add_on_close_callback(lambda _channel, reason: self._closed.set_result(reason))
        raw.add_on_return_callback(lambda *returned: self.returned.append(returned[1:]))
        raw.add_on_cancel_callback(lambda frame: self.cancelled.append(frame.method.consumer_tag))
        raw.add_callback(lambda _frame: self._taken.set_result(None), [pika.spec.Basic.GetEmpty], one_shot=False)

    async def call(self, verb, *args, **options):
        """Send a method and return the broker's answer; raise if the channel is closed instead."""
        answered = asyncio.get_running_loop().create_future()
        getattr(self.raw, verb)(*args, callback=answered.set_result, **options)
        done, _ = await asyncio.wait(
            {answered, self._closed}, timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED
        )
        if answered in done:
            return answered.result().method
        assert self._closed in done, f"no answer to {verb} in time"
        raise self._closed.result()

    async def get(self, queue, auto_ack=False):
        """Take one message as (method, properties, body), or None if the queue is empty."""
        self._taken = asyncio.get_running_loop().create_future()
        self.raw.basic_get(queue, lambda *taken: self._taken.set_result(taken[1:]), auto_ack=auto_ack)
        return await asyncio.wait_for(self._taken, DEADLINE_S)

    async def consume(self, queue, **options):
        """Start a consumer; return its tag and the asyncio queue its deliveries go to."""
        inbox = asyncio.Queue()
        answer = await self.call("basic_consume", queue, lambda *delivery: inbox.put_nowait(delivery[1:]), **options)
        return answer.consumer_tag, inbox

    async def ready(self, queue):
        """Ready messages of the queue."""
        return (await self.call("queue_declare", queue, passive=True)).message_count

    async def bodies(self, queue):
        """All ready bodies in order, taken and settled."""
        bodies = []
        while taken := await self.get(queue, auto_ack=True):
            bodies.append(taken[2])
        return bodies

    async def close_reason(self):
        """Wait until the broker closes the channel; return code and text."""
        reason = await asyncio.wait_for(asyncio.shield(self._closed), DEADLINE_S)
        return reason.reply_code, reason.reply_text


async def receive(inbox, count=1):
    """The next deliveries as (method, properties, body)."""
    return [await asyncio.wait_for(inbox.get(), DEADLINE_S) for _ in range(count)]
