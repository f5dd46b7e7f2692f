"""Idle pauses and lost brokers, with kombu's own ways to go on."""

import threading
import time

import kombu
import pytest
from kombu.mixins import ConsumerMixin

from kombu_words import DEADLINE_S, connect

IDLE_S = 7
TICK_S = 0.5


def test_heartbeats_keep_an_idle_connection(broker, names):
    with connect(broker, heartbeat=2) as connection:
        simple = connection.SimpleBuffer(names.queue())
        names.exchanges.append(simple.queue.exchange.name)
        until = time.monotonic() + IDLE_S
        while time.monotonic() < until:
            connection.heartbeat_check()
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=TICK_S)
        simple.put("still here")
        assert simple.get(timeout=DEADLINE_S).payload == "still here"
        simple.close()


class Worker(ConsumerMixin):
    """A consumer that reconnects by itself and settles what it is told to."""

    def __init__(self, connection, queue):
        self.connection = connection
        self.queue = queue
        self.seen = []
        self.held = threading.Event()
        self.done = threading.Event()

    def get_consumers(self, consumer_class, channel):
        return [consumer_class([self.queue], on_message=self.on_message, prefetch_count=1)]

    def on_message(self, message):
        self.seen.append((message.payload, message.delivery_info["redelivered"]))
        if len(self.seen) == 1:
            self.held.set()
            return
        message.ack()
        if message.payload == "last":
            self.done.set()
            self.should_stop = True


@pytest.mark.needs_own_broker
def test_consumer_mixin_reconnects_after_a_kill_and_gets_everything(own_broker):
    queue = kombu.Queue("work", kombu.Exchange("work", "direct"), "work")
    with connect(own_broker, transport_options={"confirm_publish": True}) as connection:
        producer = connection.Producer(exchange=queue.exchange, routing_key="work")
        for payload in ("held", "waiting", "last"):
            producer.publish(payload, declare=[queue])
    worker = Worker(connect(own_broker), queue)
    running = threading.Thread(target=worker.run, daemon=True)
    running.start()
    assert worker.held.wait(DEADLINE_S)
    own_broker.kill()
    own_broker.start()
    assert worker.done.wait(DEADLINE_S)
    running.join(DEADLINE_S)
    assert [payload for payload, _ in worker.seen] == ["held", "held", "waiting", "last"]
    assert worker.seen[1] == ("held", True)


@pytest.mark.needs_own_broker
def test_publish_with_retry_goes_on_after_a_restart(own_broker):
    queue = kombu.Queue("work", kombu.Exchange("work", "direct"), "work")
    connection = connect(own_broker, transport_options={"confirm_publish": True})
    producer = connection.Producer(exchange=queue.exchange, routing_key="work")
    policy = {"interval_start": 0, "interval_step": 0.1, "max_retries": 50}
    producer.publish("before", declare=[queue], retry=True, retry_policy=policy)
    own_broker.kill()
    own_broker.start()
    producer.publish("after", declare=[queue], retry=True, retry_policy=policy)
    with connect(own_broker) as again:
        bound = queue(again.default_channel)
        assert [bound.get(no_ack=True).payload for _ in range(2)] == ["before", "after"]
