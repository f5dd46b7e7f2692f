"""Refusals as the client sees them: reply code and text to the letter."""

import pika
import pika.exceptions
import pytest

from pika_blocking import channel_error, connect, connected, connection_error, publish_error


@pytest.fixture
def limited(broker, names):
    """A connection of a user who may touch only names that start with `lim-`."""
    with connected(broker, user="limited") as connection:
        yield connection


NO_QUEUE = (404, "NOT_FOUND - no queue 'python-none' in vhost '/'")
NO_EXCHANGE = (404, "NOT_FOUND - no exchange 'python-none' in vhost '/'")
ON_DEFAULT_EXCHANGE = (403, "ACCESS_REFUSED - operation not permitted on the default exchange")


@pytest.mark.parametrize(
    "verb, arguments, error",
    [
        ("queue_declare", {"queue": "python-none", "passive": True}, NO_QUEUE),
        ("queue_purge", {"queue": "python-none"}, NO_QUEUE),
        ("queue_bind", {"queue": "python-none", "exchange": "amq.direct"}, NO_QUEUE),
        ("basic_get", {"queue": "python-none"}, NO_QUEUE),
        ("basic_consume", {"queue": "python-none", "on_message_callback": print}, NO_QUEUE),
        ("exchange_declare", {"exchange": "python-none", "passive": True}, NO_EXCHANGE),
        ("exchange_bind", {"destination": "amq.direct", "source": "python-none"}, NO_EXCHANGE),
        ("exchange_bind", {"destination": "python-none", "source": "amq.direct"}, NO_EXCHANGE),
        ("exchange_declare", {"exchange": "", "exchange_type": "direct"}, ON_DEFAULT_EXCHANGE),
        ("exchange_delete", {"exchange": ""}, ON_DEFAULT_EXCHANGE),
        ("exchange_bind", {"destination": "", "source": "amq.direct"}, ON_DEFAULT_EXCHANGE),
        (
            "exchange_declare",
            {"exchange": "amq.mine", "exchange_type": "direct"},
            (403, "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'"),
        ),
        (
            "queue_declare",
            {"queue": "amq.mine"},
            (403, "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'"),
        ),
        (
            "exchange_delete",
            {"exchange": "amq.direct"},
            (403, "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed"),
        ),
        (
            "exchange_declare",
            {"exchange": "amq.direct", "exchange_type": "fanout", "durable": True},
            (
                406,
                "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.direct' in vhost '/': "
                "received 'fanout' but current is 'direct'",
            ),
        ),
        (
            "exchange_declare",
            {"exchange": "amq.direct", "exchange_type": "direct"},
            (
                406,
                "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'amq.direct' in vhost '/': "
                "received 'false' but current is 'true'",
            ),
        ),
        (
            "queue_declare",
            {"queue": "python-none", "arguments": {"x-message-ttl": "soon"}},
            (
                406,
                "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'python-none' in vhost '/': "
                '"expected integer, got longstr"',
            ),
        ),
    ],
)
def test_channel_is_closed_with_the_reason(channel, verb, arguments, error):
    assert channel_error(getattr(channel, verb), **arguments) == error


def test_channel_error_leaves_the_connection_and_other_channels_alone(connection, channel, queue):
    spoilt = connection.channel()
    assert channel_error(spoilt.queue_purge, "python-none") == NO_QUEUE
    assert channel.queue_purge(queue).method.message_count == 0
    assert connection.channel().queue_purge(queue).method.message_count == 0


def test_binding_a_missing_queue_names_the_queue_and_a_missing_exchange_the_exchange(channel, queue):
    assert channel_error(channel.queue_bind, queue, "python-none") == NO_EXCHANGE


def test_publish_to_a_missing_exchange_closes_the_channel(channel):
    assert publish_error(channel, "python-none", "k", b"") == NO_EXCHANGE


def test_exchange_in_use_is_not_deleted_if_unused(channel, queue, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange)
    channel.queue_bind(queue, exchange)
    assert channel_error(channel.exchange_delete, exchange, if_unused=True) == (
        406,
        f"PRECONDITION_FAILED - exchange '{exchange}' in vhost '/' in use",
    )


def test_unknown_exchange_type_is_refused(channel, names, is_old_rabbitmq):
    exchange = names.exchange()
    if is_old_rabbitmq:
        code, text = connection_error(channel.exchange_declare, exchange, "x-none")
        assert (code, text) == (503, "COMMAND_INVALID - unknown exchange type 'x-none'")
    else:
        code, text = channel_error(channel.exchange_declare, exchange, "x-none")
        assert (code, text) == (406, "PRECONDITION_FAILED - unknown exchange type 'x-none'")


@pytest.mark.parametrize(
    "properties, reason",
    [
        (
            {"user_id": "somebody"},
            "user_id property set to 'somebody' but authenticated user was 'guest'",
        ),
        ({"expiration": "soon"}, "invalid expiration 'soon': no_integer"),
        ({"expiration": "-1"}, "invalid expiration '-1': {value_negative,-1}"),
        ({"headers": {"CC": "one"}}, 'invalid message: {unacceptable_type_in_header,"CC",longstr}'),
    ],
)
def test_message_with_impossible_properties_is_refused(channel, queue, properties, reason):
    error = publish_error(channel, "", queue, b"", pika.BasicProperties(**properties))
    assert error == (406, f"PRECONDITION_FAILED - {reason}")


@pytest.mark.parametrize(
    "verb, arguments, access, thing",
    [
        ("queue_declare", {"queue": "python-q"}, "configure", "queue 'python-q'"),
        ("queue_delete", {"queue": "python-q"}, "configure", "queue 'python-q'"),
        ("queue_purge", {"queue": "python-q"}, "read", "queue 'python-q'"),
        ("basic_get", {"queue": "python-q"}, "read", "queue 'python-q'"),
        ("basic_consume", {"queue": "python-q", "on_message_callback": print}, "read", "queue 'python-q'"),
        ("exchange_declare", {"exchange": "python-x"}, "configure", "exchange 'python-x'"),
        ("exchange_delete", {"exchange": "python-x"}, "configure", "exchange 'python-x'"),
        ("queue_bind", {"queue": "lim-q", "exchange": "python-x"}, "read", "exchange 'python-x'"),
        ("queue_bind", {"queue": "python-q", "exchange": "lim-x"}, "write", "queue 'python-q'"),
        ("exchange_bind", {"destination": "python-x", "source": "lim-x"}, "write", "exchange 'python-x'"),
        ("exchange_bind", {"destination": "lim-x", "source": "python-x"}, "read", "exchange 'python-x'"),
    ],
)
def test_user_without_permission_is_refused(limited, names, is_old_rabbitmq, verb, arguments, access, thing):
    channel = limited.channel()
    names.queues.append("lim-q")
    names.exchanges.append("lim-x")
    channel.queue_declare("lim-q")
    channel.exchange_declare("lim-x")
    wording = "access" if is_old_rabbitmq else f"{access} access"
    assert channel_error(getattr(channel, verb), **arguments) == (
        403,
        f"ACCESS_REFUSED - {wording} to {thing} in vhost '/' refused for user 'limited'",
    )


@pytest.mark.parametrize("exchange, name", [("python-x", "python-x"), ("", "amq.default"), ("amq.topic", "amq.topic")])
def test_user_without_write_permission_can_not_publish(limited, is_old_rabbitmq, exchange, name):
    wording = "access" if is_old_rabbitmq else "write access"
    assert publish_error(limited.channel(), exchange, "k", b"") == (
        403,
        f"ACCESS_REFUSED - {wording} to exchange '{name}' in vhost '/' refused for user 'limited'",
    )


def test_user_with_permission_may_do_everything_with_the_name(limited, names):
    channel, queue, exchange = limited.channel(), names.queue("lim"), names.exchange("lim")
    channel.queue_declare(queue)
    channel.exchange_declare(exchange, "fanout")
    channel.queue_bind(queue, exchange)
    channel.confirm_delivery()
    channel.basic_publish(exchange, "", b"mine", mandatory=True)
    assert channel.basic_get(queue, auto_ack=True)[2] == b"mine"


@pytest.mark.parametrize(
    "user, vhost, text",
    [
        ("guest", "python-none", "NOT_ALLOWED - vhost python-none not found"),
        ("limited", "other", "NOT_ALLOWED - access to vhost 'other' refused for user 'limited'"),
    ],
)
def test_vhost_that_is_missing_or_forbidden_refuses_the_connection(broker, user, vhost, text):
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError) as refused:
        connect(broker, user=user, virtual_host=vhost)
    assert "(530)" in str(refused.value) and text in str(refused.value)


@pytest.mark.parametrize("user, password", [("guest", "wrong"), ("nobody", "guest")])
def test_wrong_credentials_are_refused_by_name(broker, user, password):
    with pytest.raises(pika.exceptions.ProbableAuthenticationError) as refused:
        connect(broker, user=user, password=password)
    assert (
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
        "For details see the broker logfile."
    ) in str(refused.value)
