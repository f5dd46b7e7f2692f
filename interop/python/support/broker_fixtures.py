"""The fixtures every suite shares: brokers to talk to and names that no other test uses.

Loaded as a pytest plugin. It never hides a failure: a broker that died during a test fails that test.
"""

import os
import pathlib
import re
import tempfile
import uuid

import pika
import pytest

from broker import Broker, ExternalBroker, external_address

FIRST_PORT_DEFAULT = 25670
NOT_FOR_EXTERNAL = ("needs_own_broker", "beyond_rabbitmq")


def pytest_configure(config):
    config.addinivalue_line("markers", "needs_own_broker: starts or kills a broker; left out with INTEROP_EXTERNAL")
    config.addinivalue_line("markers", "beyond_rabbitmq: RabbitMQ can not do this; left out with INTEROP_EXTERNAL")


def pytest_collection_modifyitems(config, items):
    if external_address() is None:
        return
    kept = [item for item in items if not any(item.get_closest_marker(marker) for marker in NOT_FOR_EXTERNAL)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.fixture(scope="session")
def scratch():
    """A directory for data and logs; INTEROP_DIR if the caller gave one."""
    given = os.environ.get("INTEROP_DIR")
    if given:
        path = pathlib.Path(given)
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="leveret-interop-") as path:
        yield pathlib.Path(path)


@pytest.fixture(scope="session")
def shared_broker(scratch):
    """The broker for tests that don't kill it."""
    address = external_address()
    broker = ExternalBroker(*address) if address else _new_broker(scratch, 0)
    broker.start()
    broker.server_properties = _server_properties(broker)
    yield broker
    broker.stop()


@pytest.fixture
def broker(shared_broker):
    """The shared broker, checked to be alive after the test."""
    yield shared_broker
    if isinstance(shared_broker, Broker):
        assert shared_broker.is_running(), f"the broker died:\n{shared_broker.log_end()}"


@pytest.fixture
def own_broker(scratch, request):
    """A broker of this test alone, to be killed and started again; an indirect parameter is its environment."""
    broker = _new_broker(scratch, 1, getattr(request, "param", None))
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def spare_ports():
    """Two ports for a broker that a test starts by itself."""
    first = int(os.environ.get("INTEROP_PORT", FIRST_PORT_DEFAULT))
    return first + 2, first + 3


@pytest.fixture
def is_old_rabbitmq(shared_broker):
    """Whether the broker is a RabbitMQ before 3.13, which words a few errors differently."""
    properties = shared_broker.server_properties
    if properties["product"] != "RabbitMQ":
        return False
    return tuple(int(part) for part in re.findall(r"\d+", properties["version"])[:2]) < (3, 13)


@pytest.fixture
def names(broker):
    """Fresh names for queues and exchanges; whatever was made under them is deleted after the test."""
    names = Names()
    yield names
    with pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port)) as connection:
        channel = connection.channel()
        for queue in names.queues:
            channel.queue_delete(queue)
        for exchange in names.exchanges:
            channel.exchange_delete(exchange)


class Names:
    """Gives out names and remembers them."""

    def __init__(self):
        self.queues = []
        self.exchanges = []

    def queue(self, prefix="python"):
        """A name for a queue."""
        self.queues.append(_fresh(prefix))
        return self.queues[-1]

    def exchange(self, prefix="python"):
        """A name for an exchange."""
        self.exchanges.append(_fresh(prefix))
        return self.exchanges[-1]


def _fresh(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def _new_broker(scratch, offset, environment=None):
    port = int(os.environ.get("INTEROP_PORT", FIRST_PORT_DEFAULT)) + offset
    data_dir = scratch / f"data-{uuid.uuid4().hex[:8]}"
    data_dir.mkdir()
    return Broker(port, data_dir, scratch / f"{data_dir.name}.log", environment)


def _server_properties(broker):
    with pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port)) as connection:
        return connection._impl.server_properties
