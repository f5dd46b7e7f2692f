"""Exchanges of type x-delayed-message. On RabbitMQ these need its plugin, which keeps them up to RabbitMQ 4.2."""

import time

import pika
import pytest

from pika_blocking import Inbox, channel_error, connected, wait_until

TICK_S = 0.002


def declare(channel, names, kind="direct", **options):
    exchange = names.exchange("delayed")
    channel.exchange_declare(exchange, "x-delayed-message", arguments={"x-delayed-type": kind}, **options)
    return exchange


def bound_queue(channel, names, exchange, key="k", **options):
    queue = names.queue("delayed")
    channel.queue_declare(queue, **options)
    channel.queue_bind(queue, exchange, key)
    return queue


def delayed_by(milliseconds):
    return pika.BasicProperties(delivery_mode=2, headers={"x-delay": milliseconds})


def test_a_message_comes_after_its_delay_and_shows_it(channel, names):
    exchange = declare(channel, names)
    inbox = Inbox(channel, bound_queue(channel, names, exchange), auto_ack=True)
    channel.confirm_delivery()
    begin = time.monotonic()
    channel.basic_publish(exchange, "k", b"later", delayed_by(200))
    channel.basic_publish(exchange, "k", b"at once")
    [(_, _, first), (_, properties, second)] = inbox.wait(2)
    assert time.monotonic() - begin + TICK_S >= 0.2, "it came early"
    assert (first, second) == (b"at once", b"later")
    assert properties.headers == {"x-delay": -200}


def test_messages_come_when_they_are_due_and_together_in_their_order(channel, names):
    exchange = declare(channel, names, "topic")
    inbox = Inbox(channel, bound_queue(channel, names, exchange, "#"), auto_ack=True)
    at = int(time.time() * 1000) + 1500
    for body, due in [(b"last", at + 100), *((b"%d" % number, at) for number in range(20)), (b"first", at - 700)]:
        properties = pika.BasicProperties(headers={"x-deliver-at": due})
        channel.basic_publish(exchange, "a.b", body, properties)
    inbox.wait(22)
    assert inbox.bodies() == [b"first", *(b"%d" % number for number in range(20)), b"last"]


def test_a_mandatory_message_is_returned_if_nothing_is_bound(channel, names):
    exchange = declare(channel, names)
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.UnroutableError):
        channel.basic_publish(exchange, "k", b"x", delayed_by(100), mandatory=True)
    inbox = Inbox(channel, bound_queue(channel, names, exchange), auto_ack=True)
    channel.basic_publish(exchange, "k", b"y", delayed_by(200), mandatory=True)
    inbox.wait(1)
    assert inbox.bodies() == [b"y"]


def test_an_exchange_without_a_type_to_route_by_is_refused(channel, names):
    code, text = channel_error(channel.exchange_declare, names.exchange(), "x-delayed-message")
    assert code == 406
    assert "'x-delayed-type' must be an existing exchange type" in text


@pytest.mark.needs_own_broker
def test_delayed_messages_survive_a_kill(own_broker, names):
    with connected(own_broker) as connection:
        channel = connection.channel()
        exchange = declare(channel, names, durable=True)
        queue = bound_queue(channel, names, exchange, durable=True)
        channel.confirm_delivery()
        for number in range(10):
            channel.basic_publish(exchange, "k", b"%d" % number, delayed_by(1000 + number))
    own_broker.kill()
    own_broker.start()
    with connected(own_broker) as connection:
        inbox = Inbox(connection.channel(), queue, auto_ack=True)
        wait_until(connection, lambda: len(inbox.bodies()) == 10)
        assert inbox.bodies() == [b"%d" % number for number in range(10)]
