"""Connections and channels of pika's blocking adapter."""

import pytest

from pika_blocking import connected


@pytest.fixture
def connection(broker, names):
    """A connection as guest on the default vhost."""
    with connected(broker) as connection:
        yield connection


@pytest.fixture
def channel(connection):
    """A channel on that connection."""
    return connection.channel()


@pytest.fixture
def queue(channel, names):
    """A fresh plain queue."""
    queue = names.queue()
    channel.queue_declare(queue)
    return queue
