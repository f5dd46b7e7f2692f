"""Words for tests with kombu: one way to connect, one way to wait."""

import time

import kombu

DEADLINE_S = 15


def connect(broker, user="guest", password=None, vhost="/", **options):
    """A connection, opened at once so that a refusal shows here."""
    connection = kombu.Connection(
        transport="pyamqp",
        hostname=broker.host,
        port=broker.port,
        userid=user,
        password=password or user,
        virtual_host=vhost,
        connect_timeout=DEADLINE_S,
        **options,
    )
    connection.connect()
    return connection


def wait_until(connection, condition):
    """Handle what comes until `condition()` holds; fail after the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        remaining = deadline - time.monotonic()
        assert remaining > 0, "the condition did not come true in time"
        connection.drain_events(timeout=remaining)
