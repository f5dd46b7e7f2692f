"""Definitions as RabbitMQ exports them: their users, topology and policies, and what a changed policy does."""

import base64
import hashlib
import json

import pika
import pytest

from broker import Broker
from pika_blocking import Inbox, bodies, channel_error, connected, deaths

pytestmark = pytest.mark.needs_own_broker

PERSISTENT = pika.BasicProperties(delivery_mode=2)


def hash_of(password, algorithm):
    """A password's hash as RabbitMQ exports it."""
    salt = b"salt"
    return base64.b64encode(salt + hashlib.new(algorithm, salt + password.encode()).digest()).decode()


def user(name, algorithm):
    return {
        "name": name,
        "password_hash": hash_of(name, algorithm),
        "hashing_algorithm": f"rabbit_password_hashing_{algorithm}",
        "tags": [],
        "limits": {},
    }


def queue(name, **arguments):
    return {"name": name, "vhost": "shop", "durable": True, "auto_delete": False, "arguments": arguments}


def policy(name, pattern, apply_to, **definition):
    keys = {key.replace("_", "-"): value for key, value in definition.items()}
    return {"vhost": "shop", "name": name, "pattern": pattern, "apply-to": apply_to, "priority": 1, "definition": keys}


def parameter(component, name, value):
    return {"component": component, "vhost": "shop", "name": name, "value": value}


def definitions(policies, parameters):
    """A shop: orders go to a queue, and what the policies say applies to it."""
    everything = {"vhost": "shop", "configure": ".*", "write": ".*", "read": ".*"}
    exchange = {"vhost": "shop", "durable": True, "auto_delete": False, "internal": False, "arguments": {}}
    return {
        "rabbit_version": "3.13.7",
        "users": [user("clerk", "sha256"), user("keeper", "sha512")],
        "vhosts": [{"name": "/"}, {"name": "shop"}],
        "permissions": [{"user": name, **everything} for name in ("clerk", "keeper")],
        "topic_permissions": [
            {"user": "clerk", "vhost": "shop", "exchange": "orders", "write": "^{username}\\.", "read": ".*"}
        ],
        "parameters": parameters,
        "policies": policies,
        "exchanges": [
            {"name": "orders", "type": "topic", **exchange},
            {"name": "rest", "type": "fanout", **exchange},
        ],
        "queues": [queue("orders"), queue("lost"), queue("dead"), queue("typed", **{"x-queue-type": "quorum"})],
        "bindings": [
            {
                "source": source,
                "vhost": "shop",
                "destination": destination,
                "destination_type": "queue",
                "routing_key": key,
                "arguments": {},
            }
            for source, destination, key in [("orders", "orders", "*.placed"), ("rest", "lost", "")]
        ],
    }


class Imported:
    """A broker that imports a file of definitions at each start."""

    def __init__(self, port, directory):
        self._file = directory / "definitions.json"
        environment = {"LEVERET_DEFINITIONS": str(self._file)}
        self.broker = Broker(port, directory / "data", directory / "broker.log", environment)

    def start(self, *policies, parameters=()):
        """Start it with these policies and parameters."""
        self._file.write_text(json.dumps(definitions(policies, parameters)))
        self.broker.start()

    def connect(self, name):
        """A connection to the shop as that user."""
        return connected(self.broker, user=name, virtual_host="shop")


@pytest.fixture
def imported(spare_ports, tmp_path):
    imported = Imported(spare_ports[0], tmp_path)
    yield imported
    imported.broker.kill()


def publish(channel, *numbers):
    channel.confirm_delivery()
    for number in numbers:
        channel.basic_publish("orders", "clerk.placed", b"%d" % number, PERSISTENT)


def test_users_permissions_and_topology_are_there(imported):
    imported.start()
    for name in ("clerk", "keeper"):
        with imported.connect(name) as connection:
            channel = connection.channel()
            publish(channel, 1) if name == "clerk" else channel.basic_publish("orders", "any.placed", b"2")
            channel.queue_declare("typed", durable=True, arguments={"x-queue-type": "quorum"})
    with imported.connect("clerk") as connection:
        channel = connection.channel()
        assert bodies(channel, "orders") == [b"1", b"2"]
        channel.confirm_delivery()
        code, text = channel_error(channel.basic_publish, "orders", "keeper.placed", b"x")
        assert (code, text.split(" in ")[0]) == (403, "ACCESS_REFUSED - write access to topic 'keeper.placed'")
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        with connected(imported.broker, user="clerk", password="other", virtual_host="shop"):
            pass


def test_a_policy_is_in_force_on_queues_and_exchanges_that_it_matches(imported):
    imported.start(
        policy("short", "^orders$", "queues", max_length=2, dead_letter_exchange="", dead_letter_routing_key="dead"),
        policy("unrouted", "^orders$", "exchanges", alternate_exchange="rest"),
    )
    with imported.connect("clerk") as connection:
        channel = connection.channel()
        publish(channel, 1, 2, 3)
        [(_, properties, body)] = Inbox(channel, "dead", auto_ack=True).wait(1)
        assert (body, deaths(properties)) == (b"1", [("orders", "maxlen", 1)])
        assert bodies(channel, "orders") == [b"2", b"3"]
        channel.basic_publish("orders", "clerk.asked", b"unrouted", mandatory=True)
        assert bodies(channel, "lost") == [b"unrouted"]


def test_a_changed_policy_changes_the_queues_that_are_there(imported):
    imported.start()
    with imported.connect("clerk") as connection:
        publish(connection.channel(), 1, 2, 3)
    assert imported.broker.stop() == 0
    dead = {"dead_letter_exchange": "", "dead_letter_routing_key": "dead"}
    imported.start(policy("short", "^orders$", "queues", max_length=1, **dead))
    with imported.connect("clerk") as connection:
        channel = connection.channel()
        letters = Inbox(channel, "dead", auto_ack=True)
        letters.wait(2)
        assert letters.bodies() == [b"1", b"2"]
        assert bodies(channel, "orders") == [b"3"]
        publish(channel, 4)
    assert imported.broker.stop() == 0
    imported.start(policy("short", "^orders$", "queues", message_ttl=100, delivery_limit=1, **dead))
    with imported.connect("clerk") as connection:
        channel = connection.channel()
        publish(channel, 5)
        letters = Inbox(channel, "dead", auto_ack=True)
        [(_, properties, body)] = letters.wait(1)
        assert (body, deaths(properties)) == (b"5", [("orders", "expired", 1)])
        # The time counts for those that come after it; how often one may be returned counts for all.
        returning = Inbox(channel, "orders")
        for attempt in range(2):
            returning.wait(attempt + 1)
            channel.basic_reject(returning.tags()[attempt], requeue=True)
        [_, (_, properties, body)] = letters.wait(2)
        assert (body, deaths(properties)) == (b"4", [("orders", "delivery_limit", 1)])


def test_an_operators_policy_limits_what_a_queue_asks_for(imported):
    top = {"pattern": "^work", "apply-to": "queues", "priority": 0, "definition": {"max-length": 2}}
    imported.start(parameters=[parameter("operator_policy", "top", top)])
    with imported.connect("keeper") as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        numbers = [b"1", b"2", b"3"]
        for name, length, kept in [("work-1", 10, numbers[1:]), ("work-2", 1, numbers[2:]), ("other", 10, numbers)]:
            channel.queue_declare(name, arguments={"x-max-length": length})
            for body in numbers:
                channel.basic_publish("", name, body)
            assert bodies(channel, name) == kept


def test_a_vhost_has_limits(imported):
    limits = {"max-connections": 2, "max-queues": len(definitions([], [])["queues"]) + 1}
    imported.start(parameters=[parameter("vhost-limits", "limits", limits)])
    with imported.connect("clerk") as connection, imported.connect("keeper"):
        channel = connection.channel()
        channel.queue_declare("one-more")
        code, text = channel_error(channel.queue_declare, "too-many")
        assert code == 406
        assert "queue limit in vhost 'shop' (5) is reached" in text
        with pytest.raises(pika.exceptions.AMQPConnectionError) as refused:
            with imported.connect("keeper"):
                pass
        assert "connection limit (2) is reached" in repr(refused.value)
