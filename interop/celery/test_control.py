"""Remote control and events: fanout to the workers, replies back."""

import time

import celery.events

DEADLINE_S = 30


def names(world):
    return {worker.name for worker in world.workers}


def control(world, workers=None):
    """Asks workers and returns when as many as asked have replied."""
    workers = workers or world.workers
    destination = [worker.name for worker in workers]
    return world.app.control.inspect(destination=destination, timeout=DEADLINE_S, limit=len(destination))


def test_every_worker_answers_a_ping(world):
    assert control(world).ping() == {name: {"ok": "pong"} for name in names(world)}


def test_one_worker_can_be_asked_alone(world):
    [first, _] = world.workers
    assert set(control(world, [first]).registered()) == {first.name}


def test_cancelled_consumer_leaves_tasks_until_it_is_added_again(world):
    try:
        world.app.control.cancel_consumer(world.queue)
        wait_for_consumers(world, 0)
        world.send("record", "parked")
        assert world.ready() == 1
    finally:
        world.app.control.add_consumer(world.queue)
        wait_for_consumers(world, len(world.workers))
    world.journal.wait("record", ["parked"])


def wait_for_consumers(world, count):
    """Ask until `count` workers consume from the task queue. A worker answers a command before it obeys."""
    deadline = time.monotonic() + DEADLINE_S
    while consuming(world) != count:
        assert time.monotonic() < deadline, f"there are not {count} workers on the queue in time"


def consuming(world):
    """How many workers say that they consume from the task queue."""
    active = control(world).active_queues()
    return sum(world.queue in [queue["name"] for queue in queues] for queues in active.values())


def test_revoked_task_does_not_run(world):
    revoked = world.send("record", "revoked", countdown=1)
    world.app.control.revoke(revoked.id, reply=True, timeout=DEADLINE_S, limit=2)
    world.send("record", "after-revoked", countdown=1.5)
    world.journal.wait("record", ["after-revoked"])
    assert world.journal.reports("record", "revoked") == []


def test_events_of_a_task_reach_a_monitor(world):
    wanted = ["task-received", "task-started", "task-succeeded"]
    seen = []
    handlers = {kind: lambda event: seen.append((event["uuid"], event["type"])) for kind in wanted}
    with world.app.connection() as template:
        receiver = celery.events.EventReceiver(template, handlers=handlers, app=world.app)
        with receiver.consumer_context() as (connection, _channel, _consumers):
            # Only the first worker sends events, so the monitor sees only what that one runs.
            tasks = [world.send("add", number, 1).id for number in range(20)]
            while not complete(seen, tasks, wanted):
                connection.drain_events(timeout=DEADLINE_S)


def complete(seen, tasks, wanted):
    """Whether one of the tasks has sent all events, in order."""
    return any([kind for task, kind in seen if task == one] == wanted for one in tasks)
