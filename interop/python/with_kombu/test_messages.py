"""kombu's producers, consumers and simple queues."""

import queue as standard_queue

import kombu
import pytest

from kombu_words import DEADLINE_S, connect, wait_until


def bodies(queue):
    taken = []
    while message := queue.get(no_ack=True):
        taken.append(message.payload)
    return taken


@pytest.mark.parametrize(
    "kind, key, arguments, sent_key, headers",
    [
        ("direct", "red", None, "red", {}),
        ("fanout", "", None, "any", {}),
        ("topic", "order.#", None, "order.placed.eu", {}),
        ("headers", "", {"x-match": "all", "kind": "a"}, "", {"kind": "a"}),
    ],
)
def test_each_exchange_type_routes(connection, names, kind, key, arguments, sent_key, headers):
    channel = connection.default_channel
    exchange = kombu.Exchange(names.exchange(), kind, channel=channel)
    source = kombu.Exchange(names.exchange(), "fanout", channel=channel)
    queue = kombu.Queue(names.queue(), exchange, key, binding_arguments=arguments, channel=channel)
    queue.declare()
    source.declare()
    exchange.bind_to(source)
    producer = kombu.Producer(channel)
    producer.publish("straight", exchange=exchange, routing_key=sent_key, headers=headers)
    producer.publish("through", exchange=source, routing_key=sent_key, headers=headers)
    queue.unbind_from(exchange, key, arguments=arguments)
    producer.publish("unbound", exchange=exchange, routing_key=sent_key, headers=headers)
    assert bodies(queue) == ["straight", "through"]


def test_structured_payload_round_trips(connection, queue):
    payload = {"id": 7, "items": [1, None, True, "ü"], "nested": {"a": {"b": []}}}
    for serializer in ("json", "pickle"):
        producer = connection.Producer(serializer=serializer, compression="gzip")
        producer.publish(payload, routing_key=queue.routing_key, exchange=queue.exchange, priority=3)
        message = queue.get(no_ack=True, accept=["json", "pickle"])
        assert message.payload == payload
        assert message.properties["priority"] == 3
        assert message.headers == {"compression": "application/x-gzip"}


def test_confirmed_publishes_arrive(broker, queue):
    with connect(broker, transport_options={"confirm_publish": True}) as confirming:
        producer = confirming.Producer(exchange=queue.exchange, routing_key=queue.routing_key)
        for number in range(50):
            producer.publish(number)
    assert bodies(queue) == list(range(50))


def test_unroutable_mandatory_publish_is_returned(connection, queue):
    returned = []
    producer = connection.Producer(on_return=lambda *fields: returned.append(fields))
    producer.publish("back", exchange=queue.exchange, routing_key="nobody", mandatory=True)
    wait_until(connection, lambda: returned)
    [(error, exchange, routing_key, _)] = returned
    assert (error.reply_code, exchange, routing_key) == (312, queue.exchange.name, "nobody")


def test_consumer_with_prefetch_settles_in_every_way(connection, queue):
    producer = connection.Producer(exchange=queue.exchange, routing_key=queue.routing_key)
    for number in range(4):
        producer.publish(number)
    got = []
    with connection.Consumer(queue, on_message=got.append, prefetch_count=2):
        wait_until(connection, lambda: len(got) == 2)
        assert queue.queue_declare(passive=True).message_count == 2
        got[0].ack()
        got[1].reject()
        wait_until(connection, lambda: len(got) == 4)
    got[3].requeue()
    got[2].requeue()
    again = [queue.get(no_ack=True) for _ in range(2)]
    assert [(message.payload, message.delivery_info["redelivered"]) for message in again] == [(2, True), (3, True)]


def test_consumers_on_several_queues_share_one_loop(connection, names):
    channel, got = connection.default_channel, []
    exchange = kombu.Exchange(names.exchange(), "topic", durable=False)
    queues = [kombu.Queue(names.queue(), exchange, f"{kind}.*", durable=False) for kind in ("a", "b")]
    with kombu.Consumer(channel, queues, callbacks=[lambda body, message: (got.append(body), message.ack())]):
        producer = connection.Producer(exchange=exchange)
        for number in range(20):
            producer.publish(number, routing_key=f"{'ab'[number % 2]}.x")
        wait_until(connection, lambda: len(got) == 20)
    assert sorted(got) == list(range(20))


def test_simple_queue_gets_puts_and_reports_empty(connection, names):
    name = names.queue()
    names.exchanges.append(name)
    simple = connection.SimpleQueue(name)
    simple.put({"n": 1})
    message = simple.get(timeout=DEADLINE_S)
    assert message.payload == {"n": 1}
    message.ack()
    with pytest.raises(standard_queue.Empty):
        simple.get(block=False)
    simple.close()


def test_rpc_with_an_exclusive_reply_queue(broker, connection, queue):
    with connect(broker) as asking:
        reply_queue = kombu.Queue(exclusive=True, auto_delete=True, durable=False, channel=asking.default_channel)
        reply_queue.name = reply_queue.queue_declare().queue
        replies, questions = [], []
        asking.Producer(exchange=queue.exchange, routing_key=queue.routing_key).publish(
            6, reply_to=reply_queue.name, correlation_id="c"
        )
        with connection.Consumer(queue, on_message=questions.append, no_ack=True):
            wait_until(connection, lambda: questions)
        properties = questions[0].properties
        connection.Producer().publish(
            36, routing_key=properties["reply_to"], correlation_id=properties["correlation_id"]
        )
        with asking.Consumer(reply_queue, on_message=replies.append, no_ack=True, auto_declare=False):
            wait_until(asking, lambda: replies)
    assert (replies[0].payload, replies[0].properties["correlation_id"]) == (36, "c")


@pytest.mark.parametrize("size", [0, 5 << 20])
def test_large_and_empty_bodies_come_back(connection, queue, size):
    producer = connection.Producer(exchange=queue.exchange, routing_key=queue.routing_key)
    producer.publish(b"\x00" * size, content_type="application/octet-stream", content_encoding="binary")
    assert len(queue.get(no_ack=True).body) == size
