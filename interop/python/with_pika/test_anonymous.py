"""ANONYMOUS: whoever does not say who they are is the user that the operator names."""

import pika
import pika.credentials
import pika.exceptions
import pytest

from pika_blocking import channel_error

pytestmark = pytest.mark.needs_own_broker

ANYBODY = {"LEVERET_AUTH__MECHANISMS": '["PLAIN", "ANONYMOUS"]', "LEVERET_AUTH__ANONYMOUS_USER": "limited"}


class AnonymousCredentials:
    """What pika asks of credentials."""

    TYPE = "ANONYMOUS"

    def response_for(self, start):
        """The mechanism and what to say, if the broker offers it."""
        is_offered = self.TYPE.encode() in bytes(start.mechanisms).split()
        return (self.TYPE, b"somebody") if is_offered else (None, None)

    def erase_credentials(self):
        """There are none."""


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setattr(pika.credentials, "VALID_TYPES", [*pika.credentials.VALID_TYPES, AnonymousCredentials])
    return AnonymousCredentials()


def connect(broker, credentials):
    return pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port, credentials=credentials))


@pytest.mark.parametrize("own_broker", [ANYBODY], indirect=True)
def test_anybody_is_the_user_that_the_operator_names(own_broker, credentials):
    with connect(own_broker, credentials) as connection:
        channel = connection.channel()
        channel.queue_declare("lim-own", exclusive=True)
        code, text = channel_error(channel.queue_declare, "other", exclusive=True)
        assert code == 403
        assert text.endswith("refused for user 'limited'")


def test_nobody_is_if_the_operator_names_nobody(broker, credentials):
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        connect(broker, credentials)
