"""Exchanges and queues that take a message with the same key once. On RabbitMQ these need a plugin, which does less."""

import time

import pika
import pytest

from pika_blocking import Inbox, bodies, channel_error, connected, dead_letters_to, wait_until

pytestmark = pytest.mark.beyond_rabbitmq

ON = {"x-message-deduplication": True}


def keyed(key, delivery_mode=1, **headers):
    return pika.BasicProperties(delivery_mode=delivery_mode, headers={"x-deduplication-header": key, **headers})


def declare(channel, names, kind, arguments, **options):
    """An exchange with these arguments and its queue."""
    exchange, queue = names.exchange(), names.queue()
    channel.exchange_declare(exchange, kind, arguments=arguments, **options)
    channel.queue_declare(queue, **options)
    channel.queue_bind(queue, exchange, "key")
    channel.confirm_delivery()
    return exchange, queue


def publish(channel, exchange, *messages):
    """Publish each body with its key; pika raises unless each is acked and none is returned."""
    for key, body in messages:
        channel.basic_publish(exchange, "key", body, keyed(key), mandatory=True)


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic"])
def test_an_exchange_takes_each_key_once_and_acks_all(channel, names, kind):
    exchange, queue = declare(channel, names, kind, ON)
    publish(channel, exchange, ("1", b"a"), ("1", b"b"), ("2", b"c"), (1, b"d"), ("2", b"e"))
    for body in (b"without", b"a key"):
        channel.basic_publish(exchange, "key", body)
    assert bodies(channel, queue) == [b"a", b"c", b"d", b"without", b"a key"]
    publish(channel, exchange, ("1", b"still known"))
    assert bodies(channel, queue) == []


def test_the_plugins_type_forgets_the_oldest_key_when_there_are_too_many(channel, names):
    exchange, queue = declare(channel, names, "x-message-deduplication", {"x-cache-size": 2})
    publish(channel, exchange, *((key, key.encode()) for key in ("1", "1", "2", "3", "3", "1")))
    assert bodies(channel, queue) == [b"1", b"2", b"3", b"1"]


@pytest.mark.parametrize("arguments, headers", [({"x-cache-ttl": 200}, {}), ({}, {"x-cache-ttl": 200})])
def test_a_key_is_forgotten_when_its_time_is_over(connection, channel, names, arguments, headers):
    exchange, queue = declare(channel, names, "fanout", {**ON, **arguments})
    properties = keyed("1", **headers)
    taken = []
    while len(taken) < 2:
        channel.basic_publish(exchange, "key", b"again", properties)
        taken += bodies(channel, queue)
        connection.process_data_events(time_limit=0.02)
    assert taken == [b"again", b"again"]


def test_the_key_can_be_the_message_id_or_another_header(channel, names):
    by_id, queue = declare(channel, names, "fanout", {**ON, "x-deduplication-by": "message-id"})
    for message_id, body in [("1", b"a"), ("1", b"b"), ("2", b"c")]:
        channel.basic_publish(by_id, "", body, pika.BasicProperties(message_id=message_id))
    assert bodies(channel, queue) == [b"a", b"c"]
    by_order, queue = declare(channel, names, "fanout", {**ON, "x-deduplication-header": "order"})
    for order, body in [(7, b"d"), (7, b"e"), (8, b"f")]:
        channel.basic_publish(by_order, "", body, pika.BasicProperties(headers={"order": order}))
    assert bodies(channel, queue) == [b"d", b"f"]


def test_what_came_back_or_was_refused_may_come_again(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "fanout", arguments=ON)
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.UnroutableError):
        publish(channel, exchange, ("1", b"nobody is there"))
    queue = names.queue()
    channel.queue_declare(queue, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.queue_bind(queue, exchange)
    publish(channel, exchange, ("1", b"taken"))
    for _ in range(2):
        with pytest.raises(pika.exceptions.NackError):
            publish(channel, exchange, ("2", b"refused"))
    assert bodies(channel, queue) == [b"taken"]
    publish(channel, exchange, ("2", b"there is room"))
    assert bodies(channel, queue) == [b"there is room"]


@pytest.mark.parametrize(
    "arguments",
    [{"x-cache-size": 0}, {"x-cache-ttl": -1}, {"x-cache-size": "many"}, {"x-deduplication-by": "body"}],
    ids=str,
)
def test_impossible_arguments_are_refused(channel, names, arguments):
    code, text = channel_error(channel.exchange_declare, names.exchange(), "fanout", arguments={**ON, **arguments})
    assert code == 406
    assert next(iter(arguments)) in text


def test_a_queue_takes_each_key_once_whatever_way_it_comes(channel, names):
    queue, other, exchange = names.queue(), names.queue(), names.exchange()
    channel.queue_declare(queue, arguments=ON)
    channel.queue_declare(other)
    channel.exchange_declare(exchange, "fanout")
    for bound in (queue, other):
        channel.queue_bind(bound, exchange)
    channel.confirm_delivery()
    for target, key, body in [("", "1", b"a"), (exchange, "1", b"b"), (exchange, "2", b"c"), ("", "2", b"d")]:
        channel.basic_publish(target, queue, body, keyed(key), mandatory=True)
    channel.basic_publish("", queue, b"without a key")
    assert bodies(channel, queue) == [b"a", b"c", b"without a key"]
    assert bodies(channel, other) == [b"b", b"c"]
    channel.basic_publish("", queue, b"still known", keyed("1"), mandatory=True)
    assert bodies(channel, queue) == []


def test_a_queue_knows_a_key_as_long_as_it_has_the_message(connection, channel, names):
    queue = names.queue()
    channel.queue_declare(queue, arguments={**ON, "x-cache-ttl": 1})
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"first", keyed("1"))
    inbox = Inbox(channel, queue)
    inbox.wait(1)
    begin = time.monotonic()
    while time.monotonic() - begin < 0.1:
        channel.basic_publish("", queue, b"second", keyed("1"))
    channel.basic_ack(inbox.tags()[0])

    def third_is_taken():
        channel.basic_publish("", queue, b"third", keyed("1"))
        return len(inbox.deliveries) > 1

    wait_until(connection, third_is_taken)
    assert inbox.bodies()[1] == b"third"


def test_a_message_that_is_tried_again_is_no_duplicate(channel, names):
    work, parking = names.queue(), names.queue()
    channel.queue_declare(work, arguments={**ON, **dead_letters_to(parking)})
    channel.queue_declare(parking, arguments={"x-message-ttl": 20, **dead_letters_to(work)})
    channel.confirm_delivery()
    inbox = Inbox(channel, work)
    for body in (b"job", b"the same job"):
        channel.basic_publish("", work, body, keyed("1"))
    for attempt in range(3):
        inbox.wait(attempt + 1)
        channel.basic_reject(inbox.tags()[attempt], requeue=False)
    inbox.wait(4)
    assert inbox.bodies() == [b"job"] * 4


@pytest.mark.needs_own_broker
def test_keys_of_persistent_messages_survive_a_kill(own_broker, names):
    with connected(own_broker) as connection:
        channel = connection.channel()
        exchange, queue = declare(channel, names, "direct", ON, durable=True)
        unique = names.queue()
        channel.queue_declare(unique, durable=True, arguments=ON)
        for number in range(10):
            channel.basic_publish(exchange, "key", b"%d" % number, keyed(number, delivery_mode=2))
            channel.basic_publish("", unique, b"%d" % number, keyed(number, delivery_mode=2))
    own_broker.kill()
    own_broker.start()
    with connected(own_broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for number in range(12):
            channel.basic_publish(exchange, "key", b"%d" % number, keyed(number, delivery_mode=2), mandatory=True)
            channel.basic_publish("", unique, b"%d" % number, keyed(number, delivery_mode=2), mandatory=True)
        for held in (queue, unique):
            assert bodies(channel, held) == [b"%d" % number for number in range(12)]
