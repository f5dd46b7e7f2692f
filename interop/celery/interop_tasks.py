"""The Celery application that the worker processes run, made for tests that watch it from outside.

Tasks tell the journal what they do, over a socket of the test process; `hold` waits there for the answer.
The broker, the journal and the queue come from the environment.
"""

import json
import os
import socket
import time

import celery
import kombu
import kombu.common
from celery.exceptions import Reject

RETRY_S = 0.5
RETRIES = 2

QUEUE = os.environ["INTEROP_QUEUE"]
QUEUE_ARGUMENTS = json.loads(os.environ["INTEROP_QUEUE_ARGUMENTS"])

app = celery.Celery("interop", broker=os.environ["INTEROP_BROKER_URL"], backend="rpc://")
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_heartbeat=2,
    broker_transport_options={"confirm_publish": True},
    result_expires=60,
    task_default_queue=QUEUE,
    task_queues=[
        kombu.Queue(QUEUE, kombu.Exchange(QUEUE), QUEUE, queue_arguments=QUEUE_ARGUMENTS),
        kombu.common.Broadcast(f"{QUEUE}-everyone"),
    ],
    worker_prefetch_multiplier=1,
)


def tell(*words):
    """Report to the journal and wait for its answer."""
    host, port = os.environ["INTEROP_JOURNAL"].rsplit(":", 1)
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall((" ".join(str(word) for word in words) + "\n").encode())
        connection.recv(1)


@app.task(name="interop.add")
def add(left, right):
    """A result for the caller."""
    return left + right


@app.task(name="interop.fail")
def fail(text):
    """An error for the caller."""
    raise ValueError(text)


@app.task(name="interop.record", bind=True)
def record(self, label):
    """Report one run, with the clock."""
    tell("record", label, self.request.hostname, time.time())


@app.task(name="interop.hold", bind=True)
def hold(self, label):
    """Report the run and wait until the journal lets go; the message is acked when the task starts."""
    tell("hold", label, self.request.delivery_info["redelivered"])


@app.task(name="interop.hold_late", bind=True, acks_late=True)
def hold_late(self, label):
    """As `hold`, but the message is acked when the task has ended."""
    tell("hold", label, self.request.delivery_info["redelivered"])


@app.task(name="interop.refuse", acks_late=True)
def refuse(reason):
    """Have the broker drop the message, or keep it as a dead letter."""
    raise Reject(reason, requeue=False)


@app.task(name="interop.retry", bind=True, max_retries=RETRIES)
def retry(self, label):
    """Fail until the retries are used up, each after a countdown."""
    tell("attempt", label, self.request.retries, time.time())
    if self.request.retries < RETRIES:
        raise self.retry(countdown=RETRY_S)
    return self.request.retries
