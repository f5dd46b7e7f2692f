"""Connections and channels of aio-pika."""

import aio_pika
import pytest_asyncio

from aio_pika_words import url


@pytest_asyncio.fixture
async def connection(broker, names):
    """A plain connection as guest on the default vhost."""
    connection = await aio_pika.connect(url(broker))
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def channel(connection):
    """A channel in confirm mode; a returned message raises."""
    return await connection.channel(on_return_raises=True)
