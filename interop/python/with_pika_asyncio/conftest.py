"""Connections and channels of pika's asyncio adapter."""

import pytest_asyncio

from pika_asyncio import Session


@pytest_asyncio.fixture
async def session(broker, names):
    """A connection with one channel, as guest on the default vhost."""
    session = await Session.open(broker)
    yield session
    await session.close()
