"""Consuming: prefetch, settling, requeue, cancel, get."""

import pytest

from pika_blocking import Inbox, channel_error, connection_error, counts, publish_all, wait_until


def all_ready(channel, queue):
    """Ready messages as (body, redelivered), taken and settled."""
    taken = []
    while (message := channel.basic_get(queue, auto_ack=True))[0]:
        taken.append((message[2], message[0].redelivered))
    return taken


def test_deliveries_keep_the_order_of_the_queue(channel, queue):
    expected = [b"%d" % number for number in range(200)]
    publish_all(channel, queue, *expected)
    inbox = Inbox(channel, queue)
    inbox.wait(200)
    assert inbox.bodies() == expected
    assert inbox.tags() == list(range(1, 201))
    assert not any(method.redelivered for method, _, _ in inbox.deliveries)


def test_prefetch_bounds_the_unacked_and_an_ack_lets_one_more_come(channel, queue):
    publish_all(channel, queue, b"1", b"2", b"3", b"4")
    channel.basic_qos(prefetch_count=2)
    inbox = Inbox(channel, queue)
    inbox.wait(2)
    assert counts(channel, queue) == (2, 1)
    channel.basic_ack(inbox.tags()[0])
    inbox.wait(3)
    assert counts(channel, queue) == (1, 1)
    assert inbox.bodies() == [b"1", b"2", b"3"]


def test_prefetch_is_per_consumer_by_default(channel, queue):
    publish_all(channel, queue, *[b"%d" % number for number in range(10)])
    channel.basic_qos(prefetch_count=2)
    inboxes = [Inbox(channel, queue) for _ in range(3)]
    wait_until(channel.connection, lambda: all(len(inbox.deliveries) == 2 for inbox in inboxes))
    assert counts(channel, queue) == (4, 3)


def test_global_prefetch_is_shared_by_the_channel(channel, queue):
    publish_all(channel, queue, *[b"%d" % number for number in range(10)])
    channel.basic_qos(prefetch_count=3, global_qos=True)
    inboxes = [Inbox(channel, queue) for _ in range(3)]
    assert counts(channel, queue) == (7, 3)
    wait_until(channel.connection, lambda: sum(len(inbox.deliveries) for inbox in inboxes) == 3)
    channel.basic_ack(0, multiple=True)
    wait_until(channel.connection, lambda: sum(len(inbox.deliveries) for inbox in inboxes) == 6)
    assert counts(channel, queue) == (4, 3)


def test_no_ack_consumer_ignores_prefetch(channel, queue):
    publish_all(channel, queue, *[b"%d" % number for number in range(10)])
    channel.basic_qos(prefetch_count=1)
    Inbox(channel, queue, auto_ack=True).wait(10)
    channel.close()


def test_ack_multiple_settles_all_up_to_the_tag(channel, connection, queue):
    publish_all(channel, queue, b"1", b"2", b"3")
    consuming = connection.channel()
    inbox = Inbox(consuming, queue)
    inbox.wait(3)
    consuming.basic_ack(2, multiple=True)
    consuming.close()
    assert all_ready(channel, queue) == [(b"3", True)]


def test_requeued_messages_return_to_their_original_place(channel, queue):
    publish_all(channel, queue, b"1", b"2", b"3", b"4")
    first, second, third = [channel.basic_get(queue)[0].delivery_tag for _ in range(3)]
    channel.basic_nack(third, requeue=True)
    channel.basic_reject(first, requeue=True)
    assert all_ready(channel, queue) == [(b"1", True), (b"3", True), (b"4", False)]
    channel.basic_nack(second, requeue=True)
    assert all_ready(channel, queue) == [(b"2", True)]


def test_nack_multiple_requeues_all_up_to_the_tag(channel, queue):
    publish_all(channel, queue, b"1", b"2", b"3", b"4")
    tags = [channel.basic_get(queue)[0].delivery_tag for _ in range(3)]
    channel.basic_nack(tags[1], multiple=True, requeue=True)
    assert all_ready(channel, queue) == [(b"1", True), (b"2", True), (b"4", False)]


@pytest.mark.parametrize("verb", ["basic_nack", "basic_reject"])
def test_refusing_without_requeue_drops_the_message(channel, connection, queue, verb):
    publish_all(channel, queue, b"1", b"2")
    getattr(channel, verb)(channel.basic_get(queue)[0].delivery_tag, requeue=False)
    channel.close()
    assert all_ready(connection.channel(), queue) == [(b"2", False)]


def test_rejected_message_goes_back_to_a_consumer_as_redelivered(channel, queue):
    publish_all(channel, queue, b"again")
    inbox = Inbox(channel, queue)
    inbox.wait(1)
    channel.basic_reject(inbox.tags()[0], requeue=True)
    inbox.wait(2)
    assert [(body, method.redelivered) for method, _, body in inbox.deliveries] == [(b"again", False), (b"again", True)]


def test_unacked_messages_return_when_the_channel_closes(channel, connection, queue):
    publish_all(channel, queue, b"1", b"2", b"3")
    consuming = connection.channel()
    consuming.basic_qos(prefetch_count=2)
    Inbox(consuming, queue).wait(2)
    consuming.close()
    assert all_ready(channel, queue) == [(b"1", True), (b"2", True), (b"3", False)]


def test_recover_delivers_the_unacked_again(channel, queue):
    publish_all(channel, queue, b"1", b"2")
    inbox = Inbox(channel, queue)
    inbox.wait(2)
    channel.basic_recover(requeue=True)
    inbox.wait(4)
    assert [(body, method.redelivered) for method, _, body in inbox.deliveries[2:]] == [(b"1", True), (b"2", True)]
    assert inbox.tags() == [1, 2, 3, 4]


def test_get_counts_what_is_left_and_empty_says_so(channel, queue):
    publish_all(channel, queue, b"1", b"2")
    method, _, body = channel.basic_get(queue, auto_ack=True)
    assert (body, method.message_count, method.delivery_tag, method.redelivered) == (b"1", 1, 1, False)
    assert (method.exchange, method.routing_key) == ("", queue)
    assert channel.basic_get(queue, auto_ack=True)[0].message_count == 0
    assert channel.basic_get(queue) == (None, None, None)


def test_cancelled_consumer_gets_no_more_but_keeps_its_unacked(channel, queue):
    publish_all(channel, queue, b"1")
    inbox = Inbox(channel, queue)
    inbox.wait(1)
    channel.basic_cancel(inbox.tag)
    assert counts(channel, queue) == (0, 0)
    publish_all(channel, queue, b"2")
    channel.basic_ack(1)
    assert all_ready(channel, queue) == [(b"2", False)]
    assert inbox.bodies() == [b"1"]


def test_cancel_of_an_unknown_tag_is_no_error(channel):
    assert channel.basic_cancel("no-such-tag") == []


def test_deleting_the_queue_cancels_its_consumers(channel, connection, queue):
    inbox = Inbox(channel, queue)
    connection.channel().queue_delete(queue)
    wait_until(connection, lambda: inbox.is_cancelled_by_broker)
    assert channel.is_open


def test_exclusive_consumer_shuts_others_out_until_it_is_cancelled(channel, connection, queue):
    refusal = (403, f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use")
    only = Inbox(channel, queue, exclusive=True)
    assert channel_error(connection.channel().basic_consume, queue, lambda *_: None) == refusal
    channel.basic_cancel(only.tag)
    Inbox(channel, queue)
    assert channel_error(connection.channel().basic_consume, queue, lambda *_: None, exclusive=True) == refusal


def test_reused_consumer_tag_closes_the_connection(channel, queue):
    channel.basic_consume(queue, lambda *_: None, consumer_tag="mine")
    # pika would refuse the second use itself, so it must not know of the first.
    channel._impl._consumers.pop("mine")
    channel._consumer_infos.pop("mine")
    assert connection_error(channel.basic_consume, queue, lambda *_: None, consumer_tag="mine") == (
        530,
        "NOT_ALLOWED - attempt to reuse consumer tag 'mine'",
    )


def test_consumer_tag_is_free_again_after_cancel(channel, queue):
    for _ in range(2):
        assert channel.basic_consume(queue, lambda *_: None, consumer_tag="mine") == "mine"
        channel.basic_cancel("mine")
    assert channel.is_open


def test_consumers_take_turns(channel, connection, queue):
    inboxes = [Inbox(channel, queue, auto_ack=True) for _ in range(3)]
    for number in range(9):
        connection.channel().basic_publish("", queue, b"%d" % number)
    wait_until(connection, lambda: sum(len(inbox.deliveries) for inbox in inboxes) == 9)
    assert [len(inbox.deliveries) for inbox in inboxes] == [3, 3, 3]


def test_higher_consumer_priority_is_served_first(channel, connection, queue):
    low = Inbox(channel, queue)
    high = Inbox(channel, queue, arguments={"x-priority": 5})
    for number in range(4):
        channel.basic_publish("", queue, b"%d" % number)
    high.wait(4)
    assert low.deliveries == []


@pytest.mark.parametrize("settle", ["basic_ack", "basic_nack", "basic_reject"])
def test_unknown_delivery_tag_closes_the_channel(channel, settle):
    getattr(channel, settle)(7)
    assert channel_error(channel.basic_qos) == (406, "PRECONDITION_FAILED - unknown delivery tag 7")


def test_second_ack_of_a_message_closes_the_channel_and_requeues_the_rest(channel, connection, queue):
    publish_all(channel, queue, b"1", b"2")
    tags = [channel.basic_get(queue)[0].delivery_tag for _ in range(2)]
    channel.basic_ack(tags[0])
    channel.basic_ack(tags[0])
    assert channel_error(channel.basic_qos) == (406, "PRECONDITION_FAILED - unknown delivery tag 1")
    assert all_ready(connection.channel(), queue) == [(b"2", True)]


def test_get_ignores_the_prefetch_of_the_channel(channel, queue):
    publish_all(channel, queue, b"1", b"2", b"3")
    channel.basic_qos(prefetch_count=1)
    Inbox(channel, queue).wait(1)
    assert [channel.basic_get(queue)[2] for _ in range(2)] == [b"2", b"3"]
