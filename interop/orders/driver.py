"""The order system end to end: three services in three languages, a kill of one of them, a kill of the broker.

Orders are published with confirms. Each service writes what it does to its book before it acks. In the end the books
must show that nothing confirmed was lost and that nothing ran twice without the redelivered flag.
"""

import json
import os
import pathlib
import signal
import sys
import threading
import time

import pika
from pika.exceptions import AMQPError

from books import Book, repeats_without_flag
from processes import HERE, Broker, Process, eventually

ORDERS = 300
# The service dies after this many orders are confirmed, the broker after that many.
SERVICE_KILL_AT = 100
BROKER_KILL_AT = 200
QUEUES = ("orders.inventory", "orders.payment", "orders.shipping")


class Checks:
    """Prints and counts what was asserted."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, name, holds, detail=""):
        if holds:
            self.passed += 1
            print(f"ok   {name}")
        else:
            self.failed += 1
            print(f"FAIL {name}: {detail}")

    def empty(self, name, offending):
        shown = sorted(offending)[:5]
        self.check(name, not offending, f"{len(offending)}: {shown}")


class Publisher:
    """Publishes orders one confirm at a time, over as many connections as it takes.

    An order whose confirm never came is published again under another message id: it may then arrive twice, as two
    messages.
    """

    def __init__(self, url):
        self.parameters = pika.URLParameters(url)
        self.channel = None
        self.confirmed = {}
        self.reconnects = -1

    def publish(self, order):
        for attempt in range(1, 1000):
            message_id = f"placed-{order}-{attempt}"
            try:
                self._open().basic_publish(
                    "orders",
                    "order.placed",
                    json.dumps({"order": order}),
                    pika.BasicProperties(message_id=message_id, delivery_mode=2, content_type="application/json"),
                    mandatory=True,
                )
            except AMQPError:
                self.channel = None
                continue
            self.confirmed[message_id] = str(order)
            return
        raise RuntimeError(f"order {order} cannot be published")

    def close(self):
        if self.channel:
            self.channel.connection.close()

    def _open(self):
        if self.channel is None:
            connection = eventually("the broker to take the publisher", self._connect)
            self.channel = connection.channel()
            self.channel.confirm_delivery()
            self.reconnects += 1
        return self.channel

    def _connect(self):
        try:
            return pika.BlockingConnection(self.parameters)
        except AMQPError:
            return None


class System:
    """Broker, services and books of one run."""

    def __init__(self, directory):
        self.directory = directory
        external = os.environ.get("INTEROP_EXTERNAL")
        self.port = int(os.environ["INTEROP_PORT"])
        self.broker = None if external else Broker(self.port, directory)
        self.url = f"amqp://guest:guest@{external or f'127.0.0.1:{self.port}'}/%2F?heartbeat=10"
        self.books = {name: Book(directory / f"{name}.book") for name in ("inventory", "payment", "shipping")}
        commands = {
            "inventory": [sys.executable, "-u", HERE / "inventory" / "inventory.py"],
            "payment": [directory / "payment"],
            "shipping": ["node", HERE / "shipping" / "shipping.js"],
        }
        self.services = {name: self._service(name, command) for name, command in commands.items()}

    def _service(self, name, command):
        environment = {"ORDERS_URL": self.url, "ORDERS_BOOK": str(self.books[name].path)}
        return Process(name, command, environment, self.directory)

    def start(self):
        if self.broker:
            self.broker.start()
        else:
            self.sweep()
        for service in self.services.values():
            service.start()
        for service in self.services.values():
            service.wait_for("ready", 1)

    def end(self):
        for process in [*self.services.values(), self.broker]:
            if process:
                process.end()
        if not self.broker:
            self.sweep()

    def sweep(self):
        """Somebody else's broker is left as it was."""
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            channel = connection.channel()
            for queue in QUEUES:
                channel.queue_delete(queue)
            channel.exchange_delete("orders")

    def waiting(self):
        """Ready messages in all queues."""
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            channel = connection.channel()
            return sum(channel.queue_declare(queue, passive=True).method.message_count for queue in QUEUES)


def kill_payment_in_mid_work(system, publisher):
    """Payment dies holding a prefetch full of orders, and one of them half done if chance will have it."""
    payment = system.services["payment"]
    book = system.books["payment"]
    eventually("payment to be at work", lambda: len(book.lines("placed")) >= SERVICE_KILL_AT // 5)
    payment.signal(signal.SIGSTOP)
    for order in range(SERVICE_KILL_AT, SERVICE_KILL_AT + 50):
        publisher.publish(order)
    payment.kill()
    payment.start()
    payment.wait_for("ready", 2)


def kill_broker_in_mid_publishing(system, publisher):
    """The broker dies while orders are published and worked on, and is started again."""
    failures = []

    def publish_rest():
        try:
            for order in range(SERVICE_KILL_AT + 50, ORDERS):
                publisher.publish(order)
        except Exception as error:  # Told in the main thread, where it fails the run.
            failures.append(error)

    thread = threading.Thread(target=publish_rest)
    thread.start()
    if system.broker:
        eventually("enough orders to be confirmed", lambda: failures or len(publisher.confirmed) >= BROKER_KILL_AT)
        system.broker.kill()
        system.broker.start()
    thread.join()
    if failures:
        raise failures[0]


def all_shipped(system):
    return len({line.order for line in system.books["shipping"].lines("shipped")}) >= ORDERS


def run(system, checks):
    system.start()
    publisher = Publisher(system.url)
    for order in range(SERVICE_KILL_AT):
        publisher.publish(order)
    kill_payment_in_mid_work(system, publisher)
    kill_broker_in_mid_publishing(system, publisher)
    publisher.close()
    try:
        eventually("every order to be shipped", lambda: all_shipped(system))
        eventually("the queues to run empty", lambda: system.waiting() == 0)
    except TimeoutError as error:
        checks.check("the system comes to rest", False, error)
    codes = {name: service.stop() for name, service in system.services.items()}
    check_books(system, publisher, checks)
    checks.check("every service stops cleanly", set(codes.values()) == {0}, codes)
    waiting = system.waiting()
    checks.check("nothing is left in the queues", waiting == 0, waiting)
    if system.broker:
        check_broker(system, publisher, checks)


def check_books(system, publisher, checks):
    books = system.books
    orders = set(publisher.confirmed.values())
    checks.check(f"all {ORDERS} orders were confirmed", len(orders) == ORDERS, len(orders))
    for name, book in books.items():
        seen = {line.message_id for line in book.lines("placed")}
        checks.empty(f"no confirmed order.placed was lost on the way to {name}", set(publisher.confirmed) - seen)
    for name, book in books.items():
        checks.empty(f"nothing ran twice in {name} without the redelivered flag", repeats_without_flag(book))
    again = [line for line in books["payment"].lines("placed") if line.redelivered]
    checks.check("the killed payment service got its orders back, flagged", again)

    confirmed_paid = books["payment"].lines("confirmed")
    seen_paid = books["shipping"].lines("paid")
    lost = {line.message_id for line in confirmed_paid} - {line.message_id for line in seen_paid}
    checks.empty("no confirmed order.paid was lost on the way to shipping", lost)
    checks.empty("every charged order was published as paid", orders - {line.order for line in confirmed_paid})
    charged = {line.order for line in books["payment"].lines("placed")}
    checks.empty("no order was paid that was not charged", {line.order for line in seen_paid} - charged)
    shipped = [line.order for line in books["shipping"].lines("shipped")]
    checks.check("every order was shipped once", sorted(shipped) == sorted(orders), f"{len(shipped)} shipped")


def check_broker(system, publisher, checks):
    checks.check("the publisher came back after the broker's death", publisher.reconnects >= 1)
    lost = {name for name, service in system.services.items() if service.heard("lost the broker") == 0}
    checks.empty("every service saw the broker die", lost)
    readies = {name: service.heard("ready") for name, service in system.services.items()}
    back = readies["inventory"] >= 2 and readies["shipping"] >= 2 and readies["payment"] >= 3
    checks.check("every service came back after the broker's death", back, readies)
    code = system.broker.stop()
    checks.check("the broker stops cleanly", code == 0, code)


def main():
    started = time.monotonic()
    checks = Checks()
    system = System(pathlib.Path(os.environ["INTEROP_DIR"]).resolve())
    try:
        run(system, checks)
    except (TimeoutError, RuntimeError, OSError, AMQPError) as error:
        checks.check("the scenario runs to its end", False, repr(error))
    finally:
        system.end()
    print(f"took {time.monotonic() - started:.1f} s; books and logs in {system.directory}")
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
