"""Workers to give tasks to, and the application that gives them."""

import json
import pathlib
import sys
import uuid

import celery
import kombu
import pytest

from journal import Journal
from logged_process import LoggedProcess

pytest_plugins = ["broker_fixtures"]

HERE = pathlib.Path(__file__).resolve().parent
READY_TIMEOUT_S = 40


class World:
    """A broker, a journal, a queue with arguments, the workers on it and a client application."""

    def __init__(self, broker, scratch, arguments):
        self.queue = f"celery-{uuid.uuid4().hex[:8]}"
        self.journal = Journal()
        self.workers = []
        self._broker = broker
        self._scratch = scratch
        self._arguments = arguments
        self.url = f"pyamqp://guest:guest@{broker.host}:{broker.port}//"
        self.app = celery.Celery("client", broker=self.url, backend="rpc://", set_as_current=False)
        self.app.conf.update(
            broker_transport_options={"confirm_publish": True},
            task_default_queue=self.queue,
            task_queues=[kombu.Queue(self.queue, kombu.Exchange(self.queue), self.queue, queue_arguments=arguments)],
            task_publish_retry_policy={"interval_start": 0, "interval_step": 0.1, "max_retries": 100},
        )

    def start_worker(self, *options, concurrency=2):
        """Start a worker process and wait until it is ready for tasks."""
        name = f"{self.queue}-{len(self.workers)}@localhost"
        command = [sys.executable, "-m", "celery", "-A", "interop_tasks", "worker", "-n", name, "-l", "INFO"]
        worker = LoggedProcess(
            [*command, "-c", str(concurrency), *options],
            self._scratch / f"{name}.log",
            {
                "INTEROP_BROKER_URL": self.url,
                "INTEROP_JOURNAL": self.journal.address,
                "INTEROP_QUEUE": self.queue,
                "INTEROP_QUEUE_ARGUMENTS": json.dumps(self._arguments),
                "PYTHONPATH": str(HERE),
                "C_FORCE_ROOT": "1",
            },
        )
        worker.name = name
        self.workers.append(worker)
        worker.wait_for_line(f"{name} ready.", READY_TIMEOUT_S)
        return worker

    def send(self, task, *args, **options):
        """Send a task by its name; return its result."""
        return self.app.send_task(f"interop.{task}", args, **options)

    def ready(self):
        """Ready messages in the task queue, asked of the broker."""
        with kombu.Connection(self.url) as connection:
            return connection.default_channel.queue_declare(self.queue, passive=True).message_count

    def close(self):
        """Stop the workers and delete what they declared."""
        for worker in self.workers:
            worker.stop()
        self.app.close()
        self.journal.close()

    def delete(self):
        """Delete the queue and the exchanges of the tasks."""
        with kombu.Connection(self.url) as connection:
            connection.default_channel.queue_delete(self.queue)
            for exchange in (self.queue, f"{self.queue}-everyone"):
                connection.default_channel.exchange_delete(exchange)


@pytest.fixture(scope="session")
def shared_world(shared_broker, scratch):
    """A broker with two workers that no test kills."""
    world = World(shared_broker, scratch, {})
    world.start_worker("-E")
    world.start_worker()
    yield world
    world.close()
    world.delete()


@pytest.fixture
def world(shared_world, broker):
    """The shared world, checked to be alive after the test."""
    yield shared_world
    for worker in shared_world.workers:
        assert worker.is_running(), worker.log_end()


@pytest.fixture
def own_world(broker, scratch, request):
    """A world on the shared broker, its workers this test's to kill; an indirect parameter is its queue's arguments."""
    world = World(broker, scratch, getattr(request, "param", {}))
    yield world
    world.close()
    world.delete()


@pytest.fixture
def fragile_world(own_broker, scratch):
    """A world whose broker is this test's to kill."""
    world = World(own_broker, scratch, {})
    yield world
    world.close()
