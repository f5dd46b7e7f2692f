"""Queues: names, declare and delete, exclusive and auto-delete."""

from pika_blocking import Inbox, bodies, channel_error, connected, counts, publish_all


def missing(channel, queue):
    """Whether the broker says that the queue does not exist. Closes the channel if so."""
    return channel_error(channel.queue_declare, queue, passive=True) == (
        404,
        f"NOT_FOUND - no queue '{queue}' in vhost '/'",
    )


def test_server_names_the_queue_and_the_name_works(channel):
    first = channel.queue_declare("", exclusive=True).method.queue
    second = channel.queue_declare("", exclusive=True).method.queue
    assert first.startswith("amq.gen-") and len(first) == len("amq.gen-") + 22
    assert first != second
    publish_all(channel, first, b"to the first")
    assert bodies(channel, first) == [b"to the first"]


def test_empty_name_means_the_queue_declared_last_on_the_channel(channel, names, connection):
    queue, exchange = names.queue(), names.exchange()
    channel.exchange_declare(exchange, "direct")
    channel.queue_declare(queue)
    channel.queue_bind("", exchange, "")
    channel.basic_publish(exchange, queue, b"key is the name too")
    assert channel.basic_get("", auto_ack=True)[2] == b"key is the name too"
    fresh = connection.channel()
    assert channel_error(fresh.queue_purge, "") == (404, "NOT_FOUND - no previously declared queue")


def test_declare_ok_counts_ready_messages_and_consumers(channel, queue):
    publish_all(channel, queue, b"1", b"2", b"3")
    assert counts(channel, queue) == (3, 0)
    channel.basic_get(queue)
    assert counts(channel, queue) == (2, 0)
    channel.basic_qos(prefetch_count=1)
    Inbox(channel, queue).wait(1)
    assert counts(channel, queue) == (1, 1)


def test_purge_and_delete_count_ready_messages_only(channel, queue):
    publish_all(channel, queue, b"1", b"2", b"3")
    channel.basic_get(queue)
    assert channel.queue_purge(queue).method.message_count == 2
    publish_all(channel, queue, b"4")
    assert channel.queue_delete(queue).method.message_count == 1
    assert channel.queue_delete(queue).method.message_count == 0
    assert missing(channel, queue)


def test_delete_if_empty_and_if_unused_are_refused_while_they_are_not(channel, connection, queue):
    publish_all(channel, queue, b"1")
    assert channel_error(connection.channel().queue_delete, queue, if_empty=True) == (
        406,
        f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty",
    )
    inbox = Inbox(channel, queue)
    assert channel_error(connection.channel().queue_delete, queue, if_unused=True) == (
        406,
        f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' in use",
    )
    channel.basic_cancel(inbox.tag)
    channel.queue_delete(queue, if_unused=True)
    assert missing(channel, queue)


def test_exclusive_queue_is_locked_for_other_connections_and_goes_with_its_own(broker, channel, names):
    queue = names.queue()
    refusal = (
        405,
        f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '/'. It could be "
        "originally declared on another connection or the exclusive property value does not match that of the "
        "original declaration.",
    )
    with connected(broker) as other:
        owner = other.channel()
        owner.queue_declare(queue, exclusive=True)
        other.channel().queue_declare(queue, exclusive=True)
        for action in ("queue_declare", "queue_purge", "queue_delete", "basic_get"):
            assert channel_error(getattr(channel.connection.channel(), action), queue) == refusal
        stranger = channel.connection.channel()
        assert channel_error(stranger.basic_consume, queue, lambda *_: None) == refusal
        channel.basic_publish("", queue, b"publishing is allowed")
        channel.basic_qos()
        assert bodies(owner, queue) == [b"publishing is allowed"]
    assert missing(channel, queue)


def test_auto_delete_queue_goes_with_its_last_consumer(channel, connection, names):
    queue = names.queue()
    channel.queue_declare(queue, auto_delete=True)
    assert channel.basic_get(queue)[0] is None
    first, second = Inbox(channel, queue), Inbox(channel, queue)
    channel.basic_cancel(first.tag)
    assert counts(channel, queue) == (0, 1)
    channel.basic_cancel(second.tag)
    assert missing(connection.channel(), queue)


def test_auto_delete_queue_goes_with_the_channel_of_its_consumer(channel, connection, names):
    queue = names.queue()
    channel.queue_declare(queue, auto_delete=True)
    consuming = connection.channel()
    Inbox(consuming, queue)
    consuming.close()
    assert missing(channel, queue)


def test_passive_declare_probes_on_a_throw_away_channel(connection, channel, queue, names):
    assert missing(connection.channel(), names.queue())
    assert connection.is_open and channel.is_open
    assert channel.queue_declare(queue, passive=True, durable=True).method.queue == queue


def test_equal_redeclare_is_fine_and_a_different_one_names_the_difference(channel, connection, names):
    queue = names.queue()
    arguments = {"x-expires": 60000}
    channel.queue_declare(queue, durable=True, arguments=arguments)
    channel.queue_declare(queue, durable=True, arguments=arguments)
    place = f"for queue '{queue}' in vhost '/'"
    for options, difference in [
        ({}, f"inequivalent arg 'durable' {place}: received 'false' but current is 'true'"),
        (
            {"durable": True, "auto_delete": True},
            f"inequivalent arg 'auto_delete' {place}: received 'true' but current is 'false'",
        ),
        (
            {"durable": True, "arguments": {"x-expires": 60001}},
            f"inequivalent arg 'x-expires' {place}: received '60001' but current is '60000'",
        ),
        (
            {"durable": True},
            f"inequivalent arg 'x-expires' {place}: received none but current is the value '60000' of type 'signedint'",
        ),
    ]:
        assert channel_error(connection.channel().queue_declare, queue, **options) == (
            406,
            f"PRECONDITION_FAILED - {difference}",
        )


def test_redeclare_with_another_exclusive_flag_is_locked(channel, queue):
    code, text = channel_error(channel.queue_declare, queue, exclusive=True)
    assert code == 405
    assert text.startswith("RESOURCE_LOCKED - cannot obtain exclusive access to locked queue")


def test_deleting_a_queue_takes_its_bindings_along(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    channel.queue_bind(queue, "amq.direct", queue)
    channel.queue_delete(queue)
    channel.queue_declare(queue)
    channel.basic_publish("amq.direct", queue, b"nowhere")
    assert counts(channel, queue)[0] == 0
