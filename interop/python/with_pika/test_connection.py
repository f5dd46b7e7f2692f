"""Connections: handshake, vhosts, channels, heartbeats, RPC between two of them."""

import time

import pika
import pika.exceptions
import pytest

from pika_blocking import Inbox, bodies, channel_error, connect, connected, counts, wait_until

HEARTBEAT_S = 1
IDLE_S = 4


def test_server_announces_what_clients_ask_for(connection):
    properties = connection._impl.server_properties
    assert {"capabilities", "cluster_name", "platform", "product", "version"} <= set(properties)
    for capability in (
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ):
        assert properties["capabilities"][capability] is True


def test_tune_offers_the_usual_limits(broker):
    with connected(broker, heartbeat=None) as connection:
        parameters = connection._impl.params
        assert (parameters.channel_max, parameters.frame_max, parameters.heartbeat) == (2047, 131072, 60)


def test_vhosts_are_worlds_of_their_own(broker, channel, queue, names):
    with connected(broker, virtual_host="other") as other:
        there = other.channel()
        assert channel_error(there.queue_declare, queue, passive=True) == (
            404,
            f"NOT_FOUND - no queue '{queue}' in vhost 'other'",
        )
        there = other.channel()
        there.queue_declare(queue, exclusive=True)
        there.basic_publish("", queue, b"there")
        assert counts(channel, queue)[0] == 0
        assert bodies(there, queue) == [b"there"]


def test_channel_number_is_free_again_after_close(connection):
    for _ in range(50):
        channel = connection.channel(7)
        channel.queue_declare("", exclusive=True, auto_delete=True)
        channel.close()


def test_number_of_channels_is_bounded_by_the_tuned_maximum(broker):
    with connected(broker, channel_max=4) as connection:
        for _ in range(4):
            connection.channel()
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
            connection.channel(9)
    assert (closed.value.reply_code, closed.value.reply_text) == (
        530,
        "NOT_ALLOWED - number of channels opened (4) has reached the negotiated channel_max (4)",
    )


def test_secret_can_be_updated(connection):
    connection.update_secret("guest", "rotation")
    assert connection.channel().is_open


def test_many_connections_at_once(broker, queue, channel):
    connections = [connect(broker) for _ in range(50)]
    for connection in connections:
        connection.channel().basic_publish("", queue, b"hello")
    for connection in connections:
        connection.close()
    wait_until(channel.connection, lambda: counts(channel, queue)[0] == 50)


def test_rpc_with_a_server_named_reply_queue(broker, connection, channel, queue):
    with connected(broker) as asking:
        client = asking.channel()
        reply_queue = client.queue_declare("", exclusive=True).method.queue
        replies = Inbox(client, reply_queue, auto_ack=True)
        for number in range(10):
            properties = pika.BasicProperties(reply_to=reply_queue, correlation_id=str(number))
            client.basic_publish("", queue, b"%d" % number, properties)
        requests = Inbox(channel, queue).wait(10)
        for method, properties, body in requests:
            answer = pika.BasicProperties(correlation_id=properties.correlation_id)
            channel.basic_publish("", properties.reply_to, b"%d" % (int(body) ** 2), answer)
            channel.basic_ack(method.delivery_tag)
        answers = {properties.correlation_id: int(body) for _, properties, body in replies.wait(10)}
    assert answers == {str(number): number**2 for number in range(10)}


def test_heartbeats_keep_an_idle_connection(broker, queue):
    with connected(broker, heartbeat=HEARTBEAT_S) as connection:
        channel = connection.channel()
        inbox = Inbox(channel, queue, auto_ack=True)
        connection.sleep(IDLE_S)
        channel.basic_publish("", queue, b"still here")
        inbox.wait(1)


def test_client_that_stops_its_heartbeats_is_dropped_and_its_unacked_return(broker, connection, channel, queue):
    silent = connect(broker, heartbeat=HEARTBEAT_S)
    channel.basic_publish("", queue, b"held")
    holding = silent.channel()
    wait_until(connection, lambda: counts(channel, queue)[0] == 1)
    assert holding.basic_get(queue)[2] == b"held"
    started = time.monotonic()
    wait_until(connection, lambda: counts(channel, queue)[0] == 1)
    assert 2 * HEARTBEAT_S - 0.5 < time.monotonic() - started
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        holding.basic_qos()
