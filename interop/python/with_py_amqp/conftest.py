"""Connections and channels of py-amqp."""

import pytest

from py_amqp_words import connect


@pytest.fixture
def connection(broker, names):
    """A connection as guest on the default vhost."""
    connection = connect(broker)
    yield connection
    if connection.connected:
        connection.close()


@pytest.fixture
def channel(connection):
    """A channel on that connection."""
    return connection.channel()


@pytest.fixture
def queue(channel, names):
    """A fresh plain queue."""
    queue = names.queue()
    channel.queue_declare(queue, auto_delete=False)
    return queue
