"""connection.blocked: publishers wait while the disk is short of space, and consumers do not."""

import pytest

from broker import CONFIGURATION, Broker
from pika_blocking import Inbox, connected, counts, wait_until

pytestmark = pytest.mark.needs_own_broker


class Watched:
    """A connection that keeps what the broker says of blocking."""

    def __init__(self, connection):
        self.said = []
        connection.add_on_connection_blocked_callback(lambda _, frame: self.said.append(frame.method.reason))
        connection.add_on_connection_unblocked_callback(lambda *_: self.said.append("unblocked"))


@pytest.fixture
def broker_with_limits(spare_ports, tmp_path):
    """A broker whose limits can be set while it runs."""
    config = tmp_path / "leveret.toml"

    def limit(free_space):
        config.write_text(f'{CONFIGURATION.read_text()}\n[limits]\ndisk_free_limit = "{free_space}"\n')

    limit("1 MB")
    broker = Broker(spare_ports[0], tmp_path / "data", tmp_path / "broker.log", {"INTEROP_CONFIG": str(config)})
    broker.start()

    def limit_and_reload(free_space):
        limit(free_space)
        broker.reload()

    broker.limit_disk = limit_and_reload
    yield broker
    broker.kill()


def test_publishers_wait_while_space_is_short_and_consumers_do_not(broker_with_limits):
    with connected(broker_with_limits) as publishing, connected(broker_with_limits) as consuming:
        publisher, consumer = publishing.channel(), consuming.channel()
        queue = consumer.queue_declare("work").method.queue
        bystander, watched = Watched(consuming), Watched(publishing)
        published = 0

        def publish_until_blocked():
            nonlocal published
            if not watched.said:
                publisher.basic_publish("", queue, b"%d" % published)
                published += 1
            return bool(watched.said)

        broker_with_limits.limit_disk("1 EB")
        wait_until(publishing, publish_until_blocked)
        assert watched.said == ["low on disk"]
        for _ in range(10):
            publisher.basic_publish("", queue, b"%d" % published)
            published += 1
        # What came before the alarm is served; what comes after it is not even read.
        inbox = Inbox(consumer, queue, auto_ack=True)
        inbox.wait(1)
        assert counts(consumer, queue) == (0, 1)
        assert len(inbox.deliveries) < published
        assert (watched.said, bystander.said) == (["low on disk"], [])

        broker_with_limits.limit_disk("1 MB")
        wait_until(publishing, lambda: watched.said == ["low on disk", "unblocked"])
        inbox.wait(published)
        assert inbox.bodies() == [b"%d" % number for number in range(published)]
        assert bystander.said == []
