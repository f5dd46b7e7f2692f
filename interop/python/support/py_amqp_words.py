"""Words for tests with py-amqp. Waiting means draining the connection until a condition or the deadline."""

import time

import amqp

DEADLINE_S = 15


def connect(broker, user="guest", password=None, **options):
    """An open connection."""
    connection = amqp.Connection(
        f"{broker.host}:{broker.port}",
        userid=user,
        password=password or user,
        connect_timeout=DEADLINE_S,
        read_timeout=DEADLINE_S,
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


def bodies(channel, queue):
    """All ready bodies in order, taken and settled."""
    taken = []
    while message := channel.basic_get(queue, no_ack=True):
        taken.append(message.body)
    return taken


def publish(channel, key, *payloads, exchange="", **properties):
    """Publish each payload."""
    for payload in payloads:
        channel.basic_publish(amqp.Message(payload, **properties), exchange, key)
