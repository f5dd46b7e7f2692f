"""Connections of kombu and the exchanges and queues its tests use."""

import kombu
import pytest

from kombu_words import connect


@pytest.fixture
def connection(broker, names):
    """A connection as guest on the default vhost."""
    with connect(broker) as connection:
        yield connection


@pytest.fixture
def queue(connection, names):
    """A fresh durable queue with a durable direct exchange of its own, as kombu declares them."""
    name = names.queue()
    names.exchanges.append(name)
    queue = kombu.Queue(name, kombu.Exchange(name, "direct"), routing_key=name)
    bound = queue(connection.default_channel)
    bound.declare()
    return bound
