"""Tasks on two running workers: results, retries, delays, many at once."""

import datetime
import time

import celery
import kombu
import pytest

DEADLINE_S = 30
DELAY_S = 1.5


def test_result_comes_back_over_the_reply_queue(world):
    assert world.send("add", 2, 3).get(timeout=DEADLINE_S) == 5


def test_many_results_find_their_own_callers(world):
    results = [world.send("add", number, 1) for number in range(100)]
    assert [result.get(timeout=DEADLINE_S) for result in results] == list(range(1, 101))


def test_error_of_a_task_is_raised_at_its_caller(world):
    with pytest.raises(ValueError, match="no such order"):
        world.send("fail", "no such order").get(timeout=DEADLINE_S)


def test_chain_passes_results_on(world):
    first = world.app.signature("interop.add", (1, 2))
    chain = celery.chain(first, world.app.signature("interop.add", (3,)), world.app.signature("interop.add", (4,)))
    assert chain.apply_async().get(timeout=DEADLINE_S) == 10


def test_five_hundred_tasks_each_run_once(world):
    labels = [f"many-{number}" for number in range(500)]
    for label in labels:
        world.send("record", label)
    reports = world.journal.wait("record", labels)
    assert {label: len(runs) for label, runs in reports.items()} == dict.fromkeys(labels, 1)
    assert {runs[0][0] for runs in reports.values()} == {worker.name for worker in world.workers}


def test_retries_come_after_their_countdown(world):
    assert world.send("retry", "again").get(timeout=DEADLINE_S) == 2
    attempts = world.journal.reports("attempt", "again")
    assert [int(retries) for retries, _ in attempts] == [0, 1, 2]
    times = [float(clock) for _, clock in attempts]
    assert all(later - earlier >= 0.5 for earlier, later in zip(times, times[1:]))


def test_countdown_and_eta_delay_the_task(world):
    sent = time.time()
    world.send("record", "countdown", countdown=DELAY_S)
    world.send("record", "eta", eta=world.app.now() + datetime.timedelta(seconds=DELAY_S))
    for [(_, clock)] in world.journal.wait("record", ["countdown", "eta"]).values():
        assert float(clock) - sent >= DELAY_S


def test_more_delayed_tasks_than_the_prefetch_all_run_once(world):
    labels = [f"later-{number}" for number in range(20)]
    sent = time.time()
    for label in labels:
        world.send("record", label, countdown=DELAY_S)
    reports = world.journal.wait("record", labels)
    assert all(len(runs) == 1 for runs in reports.values())
    assert all(float(clock) - sent >= DELAY_S for [(_, clock)] in reports.values())


@pytest.mark.needs_own_broker
@pytest.mark.parametrize("own_broker", [{"LEVERET_IDENTITY__VERSION": "3.13.7"}], indirect=True)
def test_delayed_tasks_make_room_for_others_if_the_version_lets_celery_use_global_prefetch(fragile_world):
    """Celery raises its prefetch for each task it keeps, but only where it believes `global` works: 3.3 to 3.13."""
    fragile_world.start_worker("--without-mingle", "--without-gossip")
    labels = [f"kept-{number}" for number in range(20)]
    sent = time.time()
    for label in labels:
        fragile_world.send("record", label, countdown=4 * DELAY_S)
    fragile_world.send("record", "at-once")
    [[_, clock]] = fragile_world.journal.wait("record", ["at-once"])["at-once"]
    assert float(clock) - sent < 4 * DELAY_S
    reports = fragile_world.journal.wait("record", labels)
    assert all(len(runs) == 1 for runs in reports.values())


def test_broadcast_reaches_every_worker(world):
    exchange = kombu.Exchange(f"{world.queue}-everyone", "fanout")
    world.send("record", "all", queue=kombu.Queue(exchange=exchange, no_declare=True))
    runs = world.journal.wait("record", ["all"], count=len(world.workers))["all"]
    assert sorted(worker for worker, _ in runs) == sorted(worker.name for worker in world.workers)
