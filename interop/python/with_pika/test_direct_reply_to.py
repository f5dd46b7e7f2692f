"""Remote procedure calls through `amq.rabbitmq.reply-to`."""

import pika
import pytest

from pika_blocking import Inbox, channel_error, connected, counts, publish_error

REPLY_TO = "amq.rabbitmq.reply-to"


def ask(channel, queue, *questions):
    """Publish the questions, each with itself as correlation id."""
    for question in questions:
        properties = pika.BasicProperties(reply_to=REPLY_TO, correlation_id=question)
        channel.basic_publish("", queue, question.encode(), properties)


def answer(channel, queue, count):
    """Answer so many questions in capitals; return the addresses the answers went to."""
    inbox = Inbox(channel, queue, auto_ack=True)
    addresses = []
    for _, properties, body in inbox.wait(count):
        reply = pika.BasicProperties(correlation_id=properties.correlation_id)
        channel.basic_publish("", properties.reply_to, body.upper(), reply)
        addresses.append(properties.reply_to)
    channel.basic_cancel(inbox.tag)
    return addresses


def replies(inbox):
    """Correlation id and body of what came."""
    return [(properties.correlation_id, body) for _, properties, body in inbox.deliveries]


def test_answers_come_back_from_another_connection(broker, channel, queue):
    inbox = Inbox(channel, REPLY_TO, auto_ack=True)
    ask(channel, queue, "a", "b", "c")
    with connected(broker) as other:
        addresses = answer(other.channel(), queue, 3)
    inbox.wait(3)
    assert replies(inbox) == [("a", b"A"), ("b", b"B"), ("c", b"C")]
    assert len(set(addresses)) == 1
    assert addresses[0].startswith(REPLY_TO + ".")
    method = inbox.deliveries[0][0]
    assert (method.exchange, method.routing_key, method.consumer_tag) == ("", addresses[0], inbox.tag)


def test_each_channel_gets_its_own_answers(broker, connection, queue):
    channels = [connection.channel() for _ in range(3)]
    inboxes = [Inbox(channel, REPLY_TO, auto_ack=True) for channel in channels]
    for index, channel in enumerate(channels):
        ask(channel, queue, *[f"{index}-{number}" for number in range(50)])
    with connected(broker) as other:
        assert len(set(answer(other.channel(), queue, 150))) == 3
    for index, inbox in enumerate(inboxes):
        inbox.wait(50)
        assert replies(inbox) == [(f"{index}-{number}", b"%d-%d" % (index, number)) for number in range(50)]


def test_the_requester_can_be_looked_for_while_it_waits(broker, channel, queue):
    assert counts(channel, REPLY_TO) == (0, 1)
    inbox = Inbox(channel, REPLY_TO, auto_ack=True)
    ask(channel, queue, "a")
    with connected(broker) as other:
        responder = other.channel()
        address = answer(responder, queue, 1)[0]
        assert counts(responder, address) == (0, 1)
        channel.basic_cancel(inbox.tag)
        missing = f"NOT_FOUND - no queue '{address}' in vhost '/'"
        assert channel_error(responder.queue_declare, address, passive=True) == (404, missing)
        late = other.channel()
        late.confirm_delivery()
        late.basic_publish("", address, b"too late", mandatory=True)
        with pytest.raises(pika.exceptions.UnroutableError):
            late.basic_publish("", REPLY_TO + ".nobody", b"astray", mandatory=True)


def test_requests_need_a_consumer_that_does_not_acknowledge(connection, queue):
    refusal = "PRECONDITION_FAILED - reply consumer cannot acknowledge"
    assert channel_error(connection.channel().basic_consume, REPLY_TO, lambda *_: None) == (406, refusal)
    refusal = "PRECONDITION_FAILED - fast reply consumer does not exist"
    properties = pika.BasicProperties(reply_to=REPLY_TO)
    assert publish_error(connection.channel(), "", queue, b"question", properties) == (406, refusal)
    channel = connection.channel()
    channel.basic_consume(REPLY_TO, lambda *_: None, auto_ack=True)
    refusal = "PRECONDITION_FAILED - reply consumer already set"
    assert channel_error(channel.basic_consume, REPLY_TO, lambda *_: None, auto_ack=True) == (406, refusal)
