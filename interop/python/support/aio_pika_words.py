"""Words for tests with aio-pika. It never waits without a deadline."""

import asyncio

import aio_pika

DEADLINE_S = 15


def url(broker, user="guest", vhost="%2F", **query):
    """The URL of the broker, with aio-pika's own query options."""
    options = "&".join(f"{key}={value}" for key, value in query.items())
    return f"amqp://{user}:{user}@{broker.host}:{broker.port}/{vhost}?{options}"


async def soon(awaitable):
    """The result of the awaitable, which must come before the deadline."""
    return await asyncio.wait_for(awaitable, DEADLINE_S)


async def bodies(queue):
    """All ready bodies in order, taken and settled."""
    taken = []
    while message := await soon(queue.get(no_ack=True, fail=False)):
        taken.append(message.body)
    return taken


async def publish(channel, key, *payloads, exchange=None, **properties):
    """Publish each payload and wait for its confirm."""
    exchange = exchange or channel.default_exchange
    for payload in payloads:
        await soon(exchange.publish(aio_pika.Message(payload, **properties), key))


class Inbox:
    """A consumer that keeps what it gets."""

    def __init__(self, queue):
        self.messages = asyncio.Queue()
        self._queue = queue

    async def start(self, **options):
        """Start consuming; return the consumer tag."""
        return await soon(self._queue.consume(self._on_message, **options))

    async def receive(self, count):
        """The next messages."""
        return [await soon(self.messages.get()) for _ in range(count)]

    async def _on_message(self, message):
        self.messages.put_nowait(message)
