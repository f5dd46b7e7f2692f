"""Refusals, sorted as kombu sorts them: recoverable or not, of the channel or of the connection."""

import kombu
import pytest
from amqp import exceptions

from kombu_words import connect


def test_missing_queue_is_a_channel_error(connection):
    with pytest.raises(connection.channel_errors) as missing:
        kombu.Queue("python-none", channel=connection.channel()).queue_declare(passive=True)
    assert isinstance(missing.value, exceptions.NotFound)
    connection.channel().close()


def test_other_durability_is_a_channel_error(connection, queue):
    with pytest.raises(connection.channel_errors) as mismatch:
        kombu.Queue(queue.name, durable=False, channel=connection.channel()).queue_declare()
    assert isinstance(mismatch.value, exceptions.PreconditionFailed)


def test_locked_queue_is_a_recoverable_channel_error(broker, connection, names):
    name = names.queue()
    kombu.Queue(name, exclusive=True, channel=connection.channel()).queue_declare()
    with connect(broker) as other, pytest.raises(other.recoverable_channel_errors) as locked:
        kombu.Queue(name, exclusive=True, channel=other.channel()).queue_declare()
    assert isinstance(locked.value, exceptions.ResourceLocked)


def test_user_without_permission_is_refused(broker):
    with connect(broker, user="limited") as limited, pytest.raises(exceptions.AccessRefused):
        kombu.Queue("python-q", channel=limited.channel()).queue_declare()


@pytest.mark.parametrize(
    "options, error",
    [
        ({"user": "limited", "vhost": "other"}, exceptions.NotAllowed),
        ({"vhost": "python-none"}, exceptions.NotAllowed),
        ({"password": "wrong"}, exceptions.AccessRefused),
    ],
)
def test_refused_connection_raises_its_reason(broker, options, error):
    with pytest.raises(error):
        connect(broker, **options)
