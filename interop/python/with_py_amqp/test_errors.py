"""Refusals as py-amqp's exceptions, with the method that failed."""

import amqp
import amqp.exceptions
import pytest

from py_amqp_words import connect, publish, wait_until


def failure(error):
    return error.value.reply_code, error.value.reply_text, error.value.method_sig


def test_missing_queue_is_not_found_and_names_the_method(connection, channel):
    with pytest.raises(amqp.exceptions.NotFound) as missing:
        channel.queue_declare("python-none", passive=True)
    assert failure(missing) == (404, "NOT_FOUND - no queue 'python-none' in vhost '/'", (50, 10))
    connection.channel().queue_declare(exclusive=True)


def test_publish_to_a_missing_exchange_is_not_found(connection, channel):
    publish(channel, "k", b"", exchange="python-none")
    with pytest.raises(amqp.exceptions.NotFound) as missing:
        wait_until(connection, lambda: False)
    assert failure(missing) == (404, "NOT_FOUND - no exchange 'python-none' in vhost '/'", (60, 40))


def test_other_arguments_fail_the_precondition(channel, queue):
    with pytest.raises(amqp.exceptions.PreconditionFailed) as mismatch:
        channel.queue_declare(queue, durable=True, auto_delete=False)
    assert mismatch.value.method_sig == (50, 10)


def test_exclusive_queue_of_another_connection_is_locked(broker, channel, names):
    queue = names.queue()
    channel.queue_declare(queue, exclusive=True)
    with connect(broker) as other, pytest.raises(amqp.exceptions.ResourceLocked) as locked:
        other.channel().queue_bind(queue, "amq.direct", "k")
    assert (locked.value.reply_code, locked.value.method_sig) == (405, (50, 20))


def test_user_without_permission_is_refused(broker):
    with connect(broker, user="limited") as connection, pytest.raises(amqp.exceptions.AccessRefused) as refused:
        connection.channel().queue_declare("python-q")
    assert refused.value.method_sig == (50, 10)


def test_immediate_is_not_implemented(connection, channel, queue):
    channel.basic_publish(amqp.Message(b""), "", queue, immediate=True)
    with pytest.raises(amqp.exceptions.AMQPNotImplementedError) as refused:
        wait_until(connection, lambda: False)
    assert failure(refused) == (540, "NOT_IMPLEMENTED - immediate=true", (60, 40))


def test_prefetch_size_is_not_implemented(channel):
    with pytest.raises(amqp.exceptions.AMQPNotImplementedError) as refused:
        channel.basic_qos(10, 0, False)
    assert failure(refused) == (540, "NOT_IMPLEMENTED - prefetch_size!=0 (10)", (60, 10))


def test_reused_consumer_tag_is_not_allowed(channel, queue):
    channel.basic_consume(queue, consumer_tag="mine")
    with pytest.raises(amqp.exceptions.NotAllowed) as reused:
        channel.basic_consume(queue, consumer_tag="mine")
    assert failure(reused) == (530, "NOT_ALLOWED - attempt to reuse consumer tag 'mine'", (60, 20))


@pytest.mark.parametrize("user, vhost", [("limited", "other"), ("guest", "python-none")])
def test_forbidden_or_missing_vhost_is_not_allowed(broker, user, vhost):
    with pytest.raises(amqp.exceptions.NotAllowed) as refused:
        connect(broker, user=user, virtual_host=vhost)
    assert refused.value.method_sig == (10, 40)


@pytest.mark.parametrize("method", ["PLAIN", "AMQPLAIN"])
def test_login_works_by_each_mechanism_and_a_wrong_password_does_not(broker, method):
    connect(broker, login_method=method).close()
    with pytest.raises(amqp.exceptions.AccessRefused) as refused:
        connect(broker, password="wrong", login_method=method)
    assert (refused.value.reply_code, refused.value.reply_text) == (
        403,
        f"ACCESS_REFUSED - Login was refused using authentication mechanism {method}. "
        "For details see the broker logfile.",
    )
