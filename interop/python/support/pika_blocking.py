"""Words for tests with pika's blocking adapter: wait, collect, look into a queue.

It never sleeps: waiting means running pika's loop until a condition holds or the deadline is over.
"""

import contextlib
import time

import pika
import pika.exceptions
import pytest

DEADLINE_S = 15


def connect(broker, user="guest", password=None, **parameters):
    """A new connection to the broker."""
    credentials = pika.PlainCredentials(user, password or user)
    return pika.BlockingConnection(
        pika.ConnectionParameters(broker.host, broker.port, credentials=credentials, **parameters)
    )


@contextlib.contextmanager
def connected(broker, **parameters):
    """A connection that is closed at the end of the block unless the broker closed it before."""
    connection = connect(broker, **parameters)
    try:
        yield connection
    finally:
        if connection.is_open:
            connection.close()


def wait_until(connection, condition):
    """Run the connection's loop until `condition()` holds; fail after the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        connection.process_data_events(time_limit=0.05)


def declare(channel, names, *arguments, **options):
    """Declare a fresh queue with all these arguments; return its name."""
    queue = names.queue()
    merged = {key: value for some in arguments for key, value in some.items()}
    channel.queue_declare(queue, arguments=merged, **options)
    return queue


def dead_letters_to(queue):
    """The arguments that send dead letters to a queue by its name."""
    return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}


def deaths(properties):
    """Queue, reason and count of each death of a dead letter, the latest first."""
    return [(death["queue"], death["reason"], death["count"]) for death in properties.headers["x-death"]]


def counts(channel, queue):
    """Ready messages and consumers of a queue, asked of the broker."""
    declared = channel.queue_declare(queue, passive=True).method
    return declared.message_count, declared.consumer_count


def bodies(channel, queue):
    """All ready bodies of a queue in order, taken and settled."""
    taken = []
    while True:
        method, _, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return taken
        taken.append(body)


def publish_all(channel, queue, *payloads):
    """Publish each payload to the queue and wait until the broker counts them."""
    ready = counts(channel, queue)[0]
    for payload in payloads:
        channel.basic_publish("", queue, payload)
    wait_until(channel.connection, lambda: counts(channel, queue)[0] == ready + len(payloads))


class Inbox:
    """A consumer that keeps what it gets."""

    def __init__(self, channel, queue, **arguments):
        self.deliveries = []
        self.is_cancelled_by_broker = False
        self._channel = channel
        channel.add_on_cancel_callback(self._on_cancel)
        self.tag = channel.basic_consume(queue, self._on_message, **arguments)

    def wait(self, count):
        """Wait until `count` messages have come, and return all of them."""
        wait_until(self._channel.connection, lambda: len(self.deliveries) >= count)
        return self.deliveries

    def bodies(self):
        """The bodies so far, in order of arrival."""
        return [body for _, _, body in self.deliveries]

    def tags(self):
        """The delivery tags so far."""
        return [method.delivery_tag for method, _, _ in self.deliveries]

    def _on_message(self, _channel, method, properties, body):
        self.deliveries.append((method, properties, body))

    def _on_cancel(self, frame):
        if frame.method.consumer_tag == self.tag:
            self.is_cancelled_by_broker = True


def channel_error(action, *args, **options):
    """Do what makes the broker close the channel; return its reply code and text."""
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        action(*args, **options)
    return closed.value.reply_code, closed.value.reply_text


def connection_error(action, *args, **options):
    """Do what makes the broker close the connection; return its reply code and text."""
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        action(*args, **options)
    return closed.value.reply_code, closed.value.reply_text


def publish_error(channel, exchange, key, body, properties=None):
    """Publish what the broker refuses; return the reply code and text that close the channel."""
    channel.basic_publish(exchange, key, body, properties)
    return channel_error(channel.basic_qos)
