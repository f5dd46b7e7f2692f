"""The tx class: nothing is visible before commit, nothing remains after rollback."""

import pytest

from pika_blocking import bodies, channel_error, counts, publish_all, wait_until


@pytest.fixture
def tx(connection):
    """A channel in tx mode."""
    channel = connection.channel()
    channel.tx_select()
    return channel


def test_publishes_are_visible_after_commit_only(channel, tx, queue):
    tx.basic_publish("", queue, b"1")
    tx.basic_publish("", queue, b"2")
    assert counts(tx, queue)[0] == 0
    tx.tx_commit()
    assert bodies(channel, queue) == [b"1", b"2"]


def test_rolled_back_publishes_are_gone(channel, tx, queue):
    tx.basic_publish("", queue, b"1")
    tx.tx_rollback()
    tx.basic_publish("", queue, b"2")
    tx.tx_commit()
    assert bodies(channel, queue) == [b"2"]


def test_commit_covers_several_queues(channel, tx, names):
    queues = [names.queue() for _ in range(3)]
    for queue in queues:
        channel.queue_declare(queue, durable=True)
        tx.basic_publish("", queue, queue.encode())
    assert [counts(channel, queue)[0] for queue in queues] == [0, 0, 0]
    tx.tx_commit()
    assert [bodies(channel, queue) for queue in queues] == [[queue.encode()] for queue in queues]


def test_acks_settle_at_commit(channel, tx, queue):
    publish_all(channel, queue, b"1", b"2")
    first = tx.basic_get(queue)[0]
    tx.basic_ack(first.delivery_tag)
    tx.tx_commit()
    tx.close()
    assert bodies(channel, queue) == [b"2"]


def test_rolled_back_acks_leave_the_messages_unacked(channel, tx, queue):
    publish_all(channel, queue, b"1", b"2")
    first = tx.basic_get(queue)[0]
    tx.basic_ack(first.delivery_tag)
    tx.tx_rollback()
    assert counts(channel, queue)[0] == 1
    tx.basic_ack(first.delivery_tag)
    tx.tx_commit()
    tx.close()
    assert bodies(channel, queue) == [b"2"]


def test_rejects_settle_at_commit(channel, tx, queue):
    publish_all(channel, queue, b"1")
    tx.basic_nack(tx.basic_get(queue)[0].delivery_tag, requeue=True)
    assert counts(tx, queue)[0] == 0
    tx.tx_commit()
    method, _, body = channel.basic_get(queue, auto_ack=True)
    assert (method.redelivered, body) == (True, b"1")


def test_closing_the_channel_rolls_back(channel, tx, queue):
    publish_all(channel, queue, b"1")
    tx.basic_ack(tx.basic_get(queue)[0].delivery_tag)
    tx.basic_publish("", queue, b"2")
    tx.close()
    assert bodies(channel, queue) == [b"1"]


def test_unroutable_mandatory_publish_is_returned_at_commit(connection, tx, names):
    returned = []
    tx.add_on_return_callback(lambda _channel, _method, _properties, body: returned.append(body))
    tx.basic_publish("", names.queue(), b"1", mandatory=True)
    tx.basic_qos()
    assert returned == []
    tx.tx_commit()
    wait_until(connection, lambda: returned)
    assert returned == [b"1"]


def test_tx_and_confirms_exclude_each_other(channel, tx):
    assert channel_error(tx.confirm_delivery) == (
        406,
        "PRECONDITION_FAILED - cannot switch from tx to confirm mode",
    )
    channel.confirm_delivery()
    assert channel_error(channel.tx_select) == (406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode")


@pytest.mark.parametrize("verb", ["tx_commit", "tx_rollback"])
def test_channel_without_tx_has_nothing_to_end(channel, verb):
    assert channel_error(getattr(channel, verb)) == (406, "PRECONDITION_FAILED - channel is not transactional")
