"""Exchange types that choose one of their bindings, or remember. On RabbitMQ these need its plugins."""

import pika
import pytest

from pika_blocking import Inbox, bodies, channel_error, connected

QUEUES = 4
KEYS = 80


def declare(channel, names, kind, arguments=None, **options):
    exchange = names.exchange(kind)
    channel.exchange_declare(exchange, kind, arguments=arguments, **options)
    channel.confirm_delivery()
    return exchange


def bound_queue(channel, names, exchange, key="", **options):
    queue = names.queue()
    channel.queue_declare(queue, **options)
    channel.queue_bind(queue, exchange, key)
    return queue


def bound_queues(channel, names, exchange, key=""):
    return [bound_queue(channel, names, exchange, key) for _ in range(QUEUES)]


def publish(channel, exchange, *keys):
    """Publish under each key a message that says the key; each must find a queue."""
    for key in keys:
        channel.basic_publish(exchange, key, key.encode(), mandatory=True)


def spread(channel, exchange, queues):
    """Which of many keys each queue gets. Each key goes to one queue, and each queue gets some."""
    publish(channel, exchange, *(f"key-{number}" for number in range(KEYS)))
    shares = [bodies(channel, queue) for queue in queues]
    assert len({key for share in shares for key in share}) == sum(map(len, shares)) == KEYS
    assert all(shares), shares
    return [set(share) for share in shares]


@pytest.mark.parametrize("kind, key", [("x-consistent-hash", "10"), ("x-modulus-hash", "any")])
def test_a_hash_sends_the_same_key_to_the_same_queue(channel, names, kind, key):
    exchange = declare(channel, names, kind)
    queues = bound_queues(channel, names, exchange, key)
    assert spread(channel, exchange, queues) == spread(channel, exchange, queues)


@pytest.mark.beyond_rabbitmq
def test_a_consistent_hash_moves_only_the_keys_of_a_queue_that_goes(channel, names):
    exchange = declare(channel, names, "x-consistent-hash")
    queues = bound_queues(channel, names, exchange, "10")
    before = spread(channel, exchange, queues)
    channel.queue_unbind(queues[-1], exchange, "10")
    after = spread(channel, exchange, queues[:-1])
    assert all(had <= has for had, has in zip(before, after))
    channel.queue_bind(queues[-1], exchange, "10")
    assert spread(channel, exchange, queues) == before


def test_a_consistent_hash_heeds_weights(channel, names):
    exchange = declare(channel, names, "x-consistent-hash")
    light = bound_queue(channel, names, exchange, "1")
    heavy = bound_queue(channel, names, exchange, "50")
    publish(channel, exchange, *map(str, range(500)))
    few, many = bodies(channel, light), bodies(channel, heavy)
    assert len(few) + len(many) == 500
    assert len(few) < 100 < len(many), "a queue of one part in 51 has more than a fifth"


@pytest.mark.parametrize("weight", ["0", "-1", "much"])
def test_a_weight_is_a_positive_number(channel, names, weight):
    exchange = declare(channel, names, "x-consistent-hash")
    queue = names.queue()
    channel.queue_declare(queue)
    code, text = channel_error(channel.queue_bind, queue, exchange, weight)
    assert code == 406
    assert "The binding key must be" in text


@pytest.mark.parametrize("arguments", [{"hash-header": "customer"}, {"hash-property": "message_id"}])
def test_a_consistent_hash_can_be_of_a_header_or_a_property(channel, names, arguments):
    exchange = declare(channel, names, "x-consistent-hash", arguments)
    queues = bound_queues(channel, names, exchange, "1")
    for order in ("first", "second"):
        for number in range(KEYS):
            customer = f"customer-{number}"
            properties = pika.BasicProperties(headers={"customer": customer}, message_id=customer)
            channel.basic_publish(exchange, order, customer.encode(), properties, mandatory=True)
    shares = [bodies(channel, queue) for queue in queues]
    assert sum(map(len, shares)) == 2 * KEYS
    assert all(shares), shares
    for share in shares:
        half = len(share) // 2
        assert share[:half] == share[half:], "both messages of a customer are in one queue"


def test_a_hash_is_of_a_header_or_a_property_but_not_of_both(channel, names):
    arguments = {"hash-header": "customer", "hash-property": "message_id"}
    code, _ = channel_error(channel.exchange_declare, names.exchange(), "x-consistent-hash", arguments=arguments)
    assert code == 406


@pytest.mark.parametrize("kind", ["x-random", pytest.param("x-local-random", marks=pytest.mark.beyond_rabbitmq)])
def test_chance_chooses_one_queue_for_each_message(channel, names, kind):
    exchange = declare(channel, names, kind)
    queues = bound_queues(channel, names, exchange)
    publish(channel, exchange, *["the same"] * KEYS)
    shares = [len(bodies(channel, queue)) for queue in queues]
    assert sum(shares) == KEYS
    # That a fair choice leaves a queue without any has a chance of 4 · 0.75^80, less than one in a thousand million.
    assert all(shares), shares


@pytest.mark.parametrize("kind", ["x-consistent-hash", "x-modulus-hash", "x-random", "x-recent-history"])
def test_without_a_queue_a_mandatory_message_comes_back(channel, names, kind):
    exchange = declare(channel, names, kind)
    with pytest.raises(pika.exceptions.UnroutableError):
        publish(channel, exchange, "nobody")


def test_a_queue_that_is_bound_late_gets_the_last_messages(channel, names):
    exchange = declare(channel, names, "x-recent-history", {"x-recent-history-length": 3})
    early = bound_queue(channel, names, exchange)
    publish(channel, exchange, "1", "2", "3", "4", "5")
    late = Inbox(channel, bound_queue(channel, names, exchange), auto_ack=True)
    publish(channel, exchange, "6")
    late.wait(4)
    assert late.bodies() == [b"3", b"4", b"5", b"6"]
    assert [method.routing_key for method, _, _ in late.deliveries] == ["3", "4", "5", "6"]
    assert bodies(channel, early) == [b"1", b"2", b"3", b"4", b"5", b"6"]


def test_twenty_are_remembered_and_none_that_asks_not_to_be(channel, names):
    exchange = declare(channel, names, "x-recent-history")
    early = bound_queue(channel, names, exchange)
    publish(channel, exchange, *map(str, range(25)))
    once = pika.BasicProperties(headers={"x-recent-history-no-store": True})
    channel.basic_publish(exchange, "", b"once", once)
    assert bodies(channel, early)[-1] == b"once"
    late = bound_queue(channel, names, exchange)
    assert bodies(channel, late) == [b"%d" % number for number in range(5, 25)]


@pytest.mark.beyond_rabbitmq
@pytest.mark.needs_own_broker
def test_hashes_and_history_survive_a_kill(own_broker, names):
    persistent = pika.BasicProperties(delivery_mode=2)
    with connected(own_broker) as connection:
        channel = connection.channel()
        hashing = declare(channel, names, "x-consistent-hash", durable=True)
        queues = [bound_queue(channel, names, hashing, "1", durable=True) for _ in range(QUEUES)]
        before = spread(channel, hashing, queues)
        remembering = declare(channel, names, "x-recent-history", {"x-recent-history-length": 2}, durable=True)
        for body in (b"1", b"2", b"3"):
            channel.basic_publish(remembering, "", body, persistent)
    own_broker.kill()
    own_broker.start()
    with connected(own_broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        assert spread(channel, hashing, queues) == before
        assert bodies(channel, bound_queue(channel, names, remembering)) == [b"2", b"3"]
