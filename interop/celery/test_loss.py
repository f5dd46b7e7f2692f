"""Workers and brokers that die: what was not finished runs again, what was taken is not lost."""

import time

import pytest

DEADLINE_S = 30
IDLE_S = 6


def held(world, label, count=1):
    """The reports of the task that holds, once there are as many as expected."""
    return world.journal.wait("hold", [label], count)[label]


def test_late_acked_task_of_a_killed_worker_runs_again(own_world):
    doomed = own_world.start_worker("--without-mingle", "--without-gossip")
    result = own_world.send("hold_late", "late")
    assert held(own_world, "late") == [["False"]]
    doomed.kill()
    own_world.start_worker("--without-mingle", "--without-gossip")
    assert held(own_world, "late", 2) == [["False"], ["True"]]
    own_world.journal.release("late")
    result.get(timeout=DEADLINE_S)
    assert own_world.ready() == 0


def test_prefetched_tasks_of_a_killed_worker_go_to_another(own_world):
    doomed = own_world.start_worker("--without-mingle", "--without-gossip", concurrency=1)
    own_world.send("hold", "early")
    held(own_world, "early")
    labels = [f"behind-{number}" for number in range(10)]
    for label in labels:
        own_world.send("record", label)
    doomed.kill()
    own_world.start_worker("--without-mingle", "--without-gossip", concurrency=1)
    reports = own_world.journal.wait("record", labels)
    assert all(len(runs) == 1 for runs in reports.values())
    # It was acked when it started, so it is gone with the worker.
    assert own_world.journal.reports("hold", "early") == [["False"]]


def test_warm_shutdown_finishes_the_task_in_hand_and_leaves_the_rest(own_world):
    leaving = own_world.start_worker("--without-mingle", "--without-gossip", concurrency=1)
    own_world.send("hold_late", "in-hand")
    held(own_world, "in-hand")
    own_world.send("record", "rest-1")
    own_world.send("record", "rest-2")
    leaving.terminate()
    leaving.wait_for_line("Warm shutdown", DEADLINE_S)
    own_world.journal.release("in-hand")
    assert leaving.stop() == 0
    assert own_world.journal.reports("hold", "in-hand") == [["False"]]
    own_world.start_worker("--without-mingle", "--without-gossip", concurrency=1)
    reports = own_world.journal.wait("record", ["rest-1", "rest-2"])
    assert all(len(runs) == 1 for runs in reports.values())


def test_idle_worker_keeps_its_connection_by_heartbeats(world):
    time.sleep(IDLE_S)
    assert world.send("add", 1, 1).get(timeout=DEADLINE_S) == 2
    for worker in world.workers:
        assert not worker.has_printed("Connection to broker lost")


@pytest.mark.needs_own_broker
def test_worker_reconnects_after_the_broker_was_killed(fragile_world, own_broker):
    worker = fragile_world.start_worker()
    fragile_world.send("record", "before")
    fragile_world.journal.wait("record", ["before"])
    own_broker.kill()
    worker.wait_for_line("Connection to broker lost", DEADLINE_S)
    own_broker.start()
    fragile_world.send("record", "after")
    fragile_world.journal.wait("record", ["after"])
    ping = fragile_world.app.control.inspect(destination=[worker.name], timeout=DEADLINE_S, limit=1).ping()
    assert ping == {worker.name: {"ok": "pong"}}


@pytest.mark.needs_own_broker
def test_queued_tasks_survive_the_broker_and_a_held_one_runs_again(fragile_world, own_broker):
    worker = fragile_world.start_worker("--without-mingle", "--without-gossip", concurrency=1)
    fragile_world.send("hold_late", "held")
    held(fragile_world, "held")
    labels = [f"queued-{number}" for number in range(50)]
    for label in labels:
        fragile_world.send("record", label)
    own_broker.kill()
    worker.wait_for_line("Connection to broker lost", DEADLINE_S)
    own_broker.start()
    fragile_world.journal.release("held")
    assert held(fragile_world, "held", 2) == [["False"], ["True"]]
    fragile_world.journal.release("held")
    reports = fragile_world.journal.wait("record", labels)
    assert all(len(runs) == 1 for runs in reports.values())
