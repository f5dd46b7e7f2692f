"""A user with an Argon2id password, topic permissions and limits on connections and channels."""

import pika.exceptions
import pytest

from pika_blocking import bodies, channel_error, connected, connection_error

pytestmark = pytest.mark.beyond_rabbitmq

TOPIC = "access to topic '{}' in exchange 'amq.topic' in vhost '/' refused for user 'guarded'"


def test_only_the_right_password_logs_in(broker):
    for _ in range(2):
        with pytest.raises(pika.exceptions.AMQPConnectionError) as refused:
            with connected(broker, user="guarded", password="guardex"):
                pass
        assert "ACCESS_REFUSED" in repr(refused.value)
        with connected(broker, user="guarded"):
            pass


def test_topic_permissions_bound_what_is_published_and_bound(broker):
    with connected(broker, user="guarded") as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "amq.topic", "guarded.#")
        channel.basic_publish("amq.topic", "guarded.order", b"mine")
        assert bodies(channel, queue) == [b"mine"]
        refused = f"ACCESS_REFUSED - read {TOPIC.format('#')}"
        assert channel_error(channel.queue_bind, queue, "amq.topic", "#") == (403, refused)
        channel = connection.channel()
        channel.confirm_delivery()
        refused = f"ACCESS_REFUSED - write {TOPIC.format('other.order')}"
        assert channel_error(channel.basic_publish, "amq.topic", "other.order", b"x") == (403, refused)


def test_connections_and_channels_are_limited(broker):
    with connected(broker, user="guarded") as first, connected(broker, user="guarded") as second:
        with pytest.raises(pika.exceptions.AMQPConnectionError) as refused:
            with connected(broker, user="guarded"):
                pass
        assert "user connection limit (2) is reached" in repr(refused.value)
        first.channel()
        first.channel()
        second.channel()
        text = "NOT_ALLOWED - number of channels opened for user 'guarded' has reached the maximum allowed user limit of (3)"
        assert connection_error(second.channel) == (530, text)
