"""Where messages go that failed, and what they tell of it."""

import pika
import pytest

from pika_blocking import Inbox, bodies, counts, dead_letters_to, deaths, declare, wait_until


@pytest.fixture
def dead(channel, names):
    """A queue for dead letters."""
    return declare(channel, names)


def fail_once(channel, names, dead, reason):
    """Let a message die in a fresh queue for this reason; return the queue's name."""
    limits = {
        "rejected": {},
        "expired": {"x-message-ttl": 20},
        "maxlen": {"x-max-length": 0},
        "delivery_limit": {"x-queue-type": "quorum", "x-delivery-limit": 0},
    }
    queue = declare(channel, names, limits[reason], dead_letters_to(dead), durable=True)
    properties = pika.BasicProperties(message_id="m-1", priority=3, headers={"mine": "kept"})
    if reason in ("rejected", "delivery_limit"):
        inbox = Inbox(channel, queue)
        channel.basic_publish("", queue, b"job", properties)
        [(method, _, _)] = inbox.wait(1)
        channel.basic_reject(method.delivery_tag, requeue=reason == "delivery_limit")
    else:
        channel.basic_publish("", queue, b"job", properties)
    return queue


@pytest.mark.parametrize("reason", ["rejected", "expired", "maxlen", "delivery_limit"])
def test_a_dead_letter_tells_where_and_why_it_died(channel, names, dead, reason, is_old_rabbitmq):
    queue = fail_once(channel, names, dead, reason)
    [(method, properties, body)] = Inbox(channel, dead).wait(1)
    assert (body, properties.message_id, properties.priority) == (b"job", "m-1", 3)
    assert (method.exchange, method.routing_key, method.redelivered) == ("", dead, False)
    headers = properties.headers
    [death] = headers.pop("x-death")
    assert death.pop("time") is not None
    assert death == {"count": 1, "reason": reason, "queue": queue, "exchange": "", "routing-keys": [queue]}
    assert headers.pop("mine") == "kept"
    if is_old_rabbitmq:
        headers.update({f"x-last-death-{what}": headers[f"x-first-death-{what}"] for what in TOLD})
        headers.pop("x-delivery-count", None)
    told = {"exchange": "", "queue": queue, "reason": reason}
    assert headers == {f"x-{which}-death-{what}": told[what] for which in ("first", "last") for what in TOLD}


TOLD = ("exchange", "queue", "reason")


def test_a_dead_letter_keeps_its_keys_unless_the_queue_names_one(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "direct")
    main, copied = declare(channel, names), declare(channel, names)
    channel.queue_bind(main, exchange, "main")
    channel.queue_bind(copied, exchange, "copied")
    queue = declare(channel, names, {"x-dead-letter-exchange": exchange})
    channel.queue_bind(queue, "amq.direct", "main")
    inbox = Inbox(channel, queue)
    channel.basic_publish("amq.direct", "main", b"job", pika.BasicProperties(headers={"CC": ["copied"]}))
    inbox.wait(1)
    channel.basic_reject(inbox.tags()[0], requeue=False)
    for target in (main, copied):
        [(method, properties, _)] = Inbox(channel, target).wait(1)
        assert (method.exchange, method.routing_key) == (exchange, "main")
        assert properties.headers["x-death"][0]["routing-keys"] == ["main", "copied"]


def test_what_is_requeued_or_deleted_is_no_dead_letter(connection, channel, names, dead):
    queue = declare(channel, names, dead_letters_to(dead))
    for body in (b"requeued", b"purged", b"deleted"):
        channel.basic_publish("", queue, body)
    wait_until(connection, lambda: counts(channel, queue)[0] == 3)
    channel.basic_nack(channel.basic_get(queue)[0].delivery_tag, requeue=True)
    assert channel.basic_get(queue, auto_ack=True)[2] == b"requeued"
    assert channel.queue_purge(queue).method.message_count == 2
    channel.basic_publish("", queue, b"deleted")
    channel.queue_delete(queue)
    assert bodies(channel, dead) == []


def test_a_retry_queue_brings_a_message_back_and_counts(channel, names):
    """The retry loop that many applications have: refused, parked for a while, back again."""
    work, parking = names.queue(), names.queue()
    channel.queue_declare(work, arguments=dead_letters_to(parking))
    channel.queue_declare(parking, arguments={"x-message-ttl": 20, **dead_letters_to(work)})
    inbox = Inbox(channel, work)
    channel.basic_publish("", work, b"job")
    for attempt in range(1, 4):
        method, properties, body = inbox.wait(attempt)[-1]
        assert body == b"job"
        if attempt > 1:
            assert deaths(properties) == [(parking, "expired", attempt - 1), (work, "rejected", attempt - 1)]
            assert properties.headers["x-first-death-queue"] == work
        channel.basic_reject(method.delivery_tag, requeue=False)
    channel.basic_ack(inbox.wait(4)[-1][0].delivery_tag)
    assert (counts(channel, work), counts(channel, parking)) == ((0, 1), (0, 0))


def test_without_a_place_to_go_they_are_dropped(channel, names):
    queue = declare(channel, names, {"x-dead-letter-exchange": names.exchange()})
    inbox = Inbox(channel, queue)
    channel.basic_publish("", queue, b"job")
    inbox.wait(1)
    channel.basic_reject(inbox.tags()[0], requeue=False)
    channel.basic_cancel(inbox.tag)
    assert bodies(channel, queue) == []


def test_at_least_once_they_wait_until_somebody_takes_them(connection, channel, names):
    dead = declare(channel, names, {"x-max-length": 1, "x-overflow": "reject-publish"})
    strategy = {"x-queue-type": "quorum", "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
    queue = declare(channel, names, strategy, dead_letters_to(dead), durable=True)
    inbox = Inbox(channel, queue)
    channel.basic_publish("", queue, b"1")
    channel.basic_publish("", queue, b"2")
    inbox.wait(2)
    channel.basic_reject(inbox.tags()[0], requeue=False)
    wait_until(connection, lambda: counts(channel, dead) == (1, 0))
    channel.basic_reject(inbox.tags()[1], requeue=False)
    assert bodies(channel, dead) == [b"1"]
    # It is offered again every ten seconds.
    wait_until(connection, lambda: counts(channel, dead) == (1, 0))
    [(_, properties, body)] = Inbox(channel, dead, auto_ack=True).wait(1)
    assert (body, deaths(properties)) == (b"2", [(queue, "rejected", 1)])
