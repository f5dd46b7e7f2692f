"""The broker is killed and started again: what is durable is there, and nothing else."""

import concurrent.futures

import pika
import pika.exceptions
import pytest

from pika_blocking import Inbox, bodies, channel_error, connect, connected, counts, publish_all, wait_until

pytestmark = pytest.mark.needs_own_broker

PERSISTENT = pika.BasicProperties(delivery_mode=2)
TRANSIENT = pika.BasicProperties(delivery_mode=1)


def publish_confirmed(channel, exchange, key, *payloads, properties=PERSISTENT):
    channel.confirm_delivery()
    for payload in payloads:
        channel.basic_publish(exchange, key, payload, properties, mandatory=True)


def lose(broker, connection):
    """Kill the broker and see the client notice."""
    broker.kill()
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        connection.process_data_events(time_limit=10)
        connection.channel()
    broker.start()


def test_confirmed_persistent_messages_survive_a_kill(own_broker):
    connection = connect(own_broker)
    channel = connection.channel()
    channel.queue_declare("work", durable=True)
    large = bytes(range(256)) * 4096
    expected = [b"%d" % number for number in range(50)] + [b"", large]
    publish_confirmed(channel, "", "work", *expected)
    lose(own_broker, connection)
    with connected(own_broker) as again:
        channel = again.channel()
        assert counts(channel, "work")[0] == len(expected)
        assert bodies(channel, "work") == expected


def test_transient_messages_and_queues_do_not_survive(own_broker):
    connection = connect(own_broker)
    channel = connection.channel()
    channel.queue_declare("durable", durable=True)
    channel.queue_declare("transient")
    channel.queue_declare("exclusive", durable=True, exclusive=True)
    publish_confirmed(channel, "", "durable", b"lost", properties=TRANSIENT)
    publish_confirmed(channel, "", "durable", b"kept")
    publish_confirmed(channel, "", "transient", b"lost")
    publish_confirmed(channel, "", "exclusive", b"lost")
    lose(own_broker, connection)
    with connected(own_broker) as again:
        assert bodies(again.channel(), "durable") == [b"kept"]
        for queue in ("transient", "exclusive"):
            assert channel_error(again.channel().queue_declare, queue, passive=True)[0] == 404


def test_unacked_messages_return_in_their_place_as_redelivered(own_broker):
    connection = connect(own_broker)
    channel = connection.channel()
    channel.queue_declare("work", durable=True)
    publish_confirmed(channel, "", "work", b"1", b"2", b"3", b"4")
    channel.basic_qos(prefetch_count=3)
    inbox = Inbox(channel, "work")
    inbox.wait(3)
    channel.basic_ack(inbox.tags()[1])
    inbox.wait(4)
    lose(own_broker, connection)
    with connected(own_broker) as again:
        channel = again.channel()
        taken = [channel.basic_get("work") for _ in range(counts(channel, "work")[0])]
        # Nothing tells the client that its ack is on disk, so the second message may be there or not.
        assert [body for _, _, body in taken if body != b"2"] == [b"1", b"3", b"4"]
        assert all(method.redelivered for method, _, _ in taken)


def test_acks_of_a_committed_transaction_survive(own_broker):
    connection = connect(own_broker)
    channel = connection.channel()
    channel.queue_declare("work", durable=True)
    publish_confirmed(channel, "", "work", b"1", b"2")
    tx = connection.channel()
    tx.tx_select()
    method, _, _ = tx.basic_get("work")
    tx.basic_ack(method.delivery_tag)
    tx.tx_commit()
    lose(own_broker, connection)
    with connected(own_broker) as again:
        assert bodies(again.channel(), "work") == [b"2"]


def test_committed_transaction_survives_and_an_open_one_does_not(own_broker):
    connection = connect(own_broker)
    channel = connection.channel()
    for queue in ("one", "two"):
        channel.queue_declare(queue, durable=True)
    channel.tx_select()
    for queue in ("one", "two"):
        channel.basic_publish("", queue, b"committed", PERSISTENT)
    channel.tx_commit()
    for queue in ("one", "two"):
        channel.basic_publish("", queue, b"open", PERSISTENT)
    channel.basic_qos()
    lose(own_broker, connection)
    with connected(own_broker) as again:
        channel = again.channel()
        assert [bodies(channel, queue) for queue in ("one", "two")] == [[b"committed"], [b"committed"]]


def test_durable_exchanges_and_bindings_survive(own_broker):
    connection = connect(own_broker)
    channel = connection.channel()
    channel.exchange_declare("source", "topic", durable=True)
    channel.exchange_declare("destination", "headers", durable=True)
    channel.exchange_declare("transient", "fanout")
    channel.queue_declare("work", durable=True)
    channel.exchange_bind("destination", "source", "order.*")
    channel.queue_bind("work", "destination", "", {"x-match": "all", "kind": "a", "level": 1})
    lose(own_broker, connection)
    with connected(own_broker) as again:
        channel = again.channel()
        channel.exchange_declare("source", "topic", durable=True)
        channel.exchange_declare("destination", "headers", durable=True)
        for kind in ("a", "b"):
            properties = pika.BasicProperties(headers={"kind": kind, "level": 1})
            channel.basic_publish("source", "order.placed", kind.encode(), properties)
        assert bodies(channel, "work") == [b"a"]
        assert channel_error(channel.exchange_declare, "transient", passive=True)[0] == 404


def test_properties_and_headers_survive(own_broker):
    connection = connect(own_broker)
    channel = connection.channel()
    channel.queue_declare("work", durable=True)
    sent = pika.BasicProperties(
        headers={"deep": {"list": [1, "two", None, {"three": 3}]}, "big": 2**40},
        delivery_mode=2,
        message_id="m",
        priority=3,
        timestamp=1_700_000_000,
    )
    publish_confirmed(channel, "", "work", b"body", properties=sent)
    lose(own_broker, connection)
    with connected(own_broker) as again:
        method, properties, body = again.channel().basic_get("work")
        assert (method.exchange, method.routing_key, body) == ("", "work", b"body")
        assert vars(properties) == vars(sent)


def test_purged_and_deleted_queues_stay_so(own_broker):
    connection = connect(own_broker)
    channel = connection.channel()
    for queue in ("purged", "deleted"):
        channel.queue_declare(queue, durable=True)
        publish_confirmed(channel, "", queue, b"gone")
    channel.queue_purge("purged")
    channel.queue_delete("deleted")
    lose(own_broker, connection)
    with connected(own_broker) as again:
        assert counts(again.channel(), "purged")[0] == 0
        assert channel_error(again.channel().queue_declare, "deleted", passive=True)[0] == 404


def test_clean_stop_closes_connections_with_a_reason_and_keeps_the_data(own_broker):
    connection = connect(own_broker)
    channel = connection.channel()
    channel.queue_declare("work", durable=True)
    publish_confirmed(channel, "", "work", b"kept")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        stopping = pool.submit(own_broker.stop)
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
            wait_until(connection, lambda: False)
        assert stopping.result() == 0
    assert (closed.value.reply_code, closed.value.reply_text) == (
        320,
        "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'",
    )
    own_broker.start()
    with connected(own_broker) as again:
        assert bodies(again.channel(), "work") == [b"kept"]


def test_messages_keep_their_order_over_several_restarts(own_broker):
    for round_number in range(3):
        with connected(own_broker) as connection:
            channel = connection.channel()
            channel.queue_declare("work", durable=True)
            publish_confirmed(channel, "", "work", b"%d" % round_number)
            publish_all(channel, "work", b"transient")
        own_broker.kill()
        own_broker.start()
    with connected(own_broker) as connection:
        assert bodies(connection.channel(), "work") == [b"0", b"1", b"2"]
