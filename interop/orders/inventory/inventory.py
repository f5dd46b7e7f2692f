"""Reserves stock for each placed order: a blocking pika consumer that survives the broker's death.

Every message is written to the book before it is acked, so a crash in between shows as a second, redelivered line.
"""

import json
import os
import signal
import time

import pika
from pika.exceptions import AMQPError

QUEUE = "orders.inventory"
RECONNECT_DEADLINE_S = 30


class Inventory:
    """One consumer with its book; `run` returns after SIGTERM."""

    def __init__(self, url, book):
        self.parameters = pika.URLParameters(url)
        self.book = book
        self.channel = None
        self.stopping = False

    def run(self):
        signal.signal(signal.SIGTERM, self.stop)
        while not self.stopping:
            connection = self.connect()
            try:
                self.consume(connection)
                connection.close()
            except AMQPError as error:
                print(f"lost the broker: {error!r}", flush=True)

    def connect(self):
        """Tries until the broker answers, for as long as a restart may take."""
        end = time.monotonic() + RECONNECT_DEADLINE_S
        while True:
            try:
                return pika.BlockingConnection(self.parameters)
            except AMQPError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def consume(self, connection):
        self.channel = connection.channel()
        self.channel.exchange_declare("orders", "topic", durable=True)
        self.channel.queue_declare(QUEUE, durable=True)
        self.channel.queue_bind(QUEUE, "orders", "order.placed")
        self.channel.basic_qos(prefetch_count=20)
        self.channel.basic_consume(QUEUE, self.reserve)
        print("ready", flush=True)
        if not self.stopping:
            self.channel.start_consuming()

    def reserve(self, channel, method, properties, body):
        order = json.loads(body)["order"]
        self.book.write(f"placed {properties.message_id} {order} {int(method.redelivered)}\n")
        self.book.flush()
        channel.basic_ack(method.delivery_tag)

    def stop(self, *_):
        self.stopping = True
        if self.channel and self.channel.is_open:
            self.channel.connection.add_callback_threadsafe(self.channel.stop_consuming)


def main():
    with open(os.environ["ORDERS_BOOK"], "a", encoding="utf-8") as book:
        Inventory(os.environ["ORDERS_URL"], book).run()


if __name__ == "__main__":
    main()
