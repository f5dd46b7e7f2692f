"""Task queues with arguments: what they make of tasks."""

import kombu
import pytest

DEADLINE_S = 30
DEAD = "celery-dead-letters"
TO_DEAD = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}


@pytest.fixture
def dead_letters(own_world):
    """The queue that dead letters go to, to be read."""
    with kombu.Connection(own_world.url) as connection:
        queue = connection.SimpleQueue(kombu.Queue(DEAD, routing_key=DEAD))
        yield queue
        queue.close()
        connection.default_channel.queue_delete(DEAD)


@pytest.mark.parametrize("own_world", [{"x-max-priority": 9}], indirect=True)
def test_tasks_of_higher_priority_run_first(own_world):
    worker = own_world.start_worker("--without-mingle", "--without-gossip", concurrency=1)
    # Acked late, it takes all of the worker's prefetch: the others wait at the broker.
    own_world.send("hold_late", "first")
    own_world.journal.wait("hold", ["first"])
    priorities = {"low": 1, "high": 9, "none": None, "middle": 5, "high-too": 9}
    tasks = {label: own_world.send("record", label, priority=priority) for label, priority in priorities.items()}
    assert own_world.ready() == len(priorities)
    own_world.journal.release("first")
    reports = own_world.journal.wait("record", priorities)
    in_order = sorted(reports, key=lambda label: float(reports[label][0][1]))
    assert in_order == ["high", "high-too", "middle", "low", "none"]
    # A worker that is stopped just when a task ends may wait for its own child for ever.
    worker.wait_for_line(f"[{tasks[in_order[-1]].id}] succeeded", DEADLINE_S)


@pytest.mark.parametrize("own_world", [TO_DEAD], indirect=True)
def test_a_refused_task_is_a_dead_letter(own_world, dead_letters):
    own_world.start_worker("--without-mingle", "--without-gossip", concurrency=1)
    own_world.send("refuse", "no such order")
    letter = dead_letters.get(timeout=DEADLINE_S)
    [death] = letter.headers["x-death"]
    assert (death["queue"], death["reason"], death["count"]) == (own_world.queue, "rejected", 1)
    assert letter.headers["task"] == "interop.refuse"
    assert letter.payload[0] == ["no such order"]
    letter.ack()
    assert own_world.ready() == 0


@pytest.mark.parametrize("own_world", [{"x-message-ttl": 50, **TO_DEAD}], indirect=True)
def test_a_task_that_nobody_takes_in_time_is_a_dead_letter(own_world, dead_letters):
    own_world.send("record", "never")
    letter = dead_letters.get(timeout=DEADLINE_S)
    assert [death["reason"] for death in letter.headers["x-death"]] == ["expired"]
    assert letter.headers["task"] == "interop.record"
    letter.ack()
