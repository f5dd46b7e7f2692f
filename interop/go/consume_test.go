package interop

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func filled(t *testing.T, bodies ...string) (*world, *amqp.Channel, string) {
	t.Helper()
	w := open(t)
	channel := w.confirming()
	queue := w.queue(channel)
	w.publish(channel, "", queue, amqp.Publishing{}, bodies...)
	return w, channel, queue
}

func TestPrefetchLimitsWhatAConsumerHolds(t *testing.T) {
	w, channel, queue := filled(t, "1", "2", "3", "4", "5")
	w.ok(channel.Qos(2, 0, false))
	deliveries := w.consume(channel, queue, "")
	held := w.take(deliveries, 2)
	w.equal(w.ready(channel, queue), 3)
	w.equal(len(deliveries), 0)
	w.ok(held[0].Ack(false))
	w.equal(string(w.next(deliveries).Body), "3")
	w.equal(w.ready(channel, queue), 2)
}

func TestAGlobalPrefetchIsSharedByTheConsumersOfAChannel(t *testing.T) {
	w, channel, queue := filled(t, numbers(6)...)
	w.ok(channel.Qos(3, 0, true))
	w.consume(channel, queue, "one")
	w.consume(channel, queue, "two")
	w.eventually("three messages to be held", func() bool { return w.ready(channel, queue) == 3 })
	w.equal(w.ready(w.channel(), queue), 3)
}

func TestConsumersShareAQueueInTurn(t *testing.T) {
	w, channel, queue := filled(t)
	one, two := w.consume(w.channel(), queue, "one"), w.consume(w.channel(), queue, "two")
	w.publish(channel, "", queue, amqp.Publishing{}, numbers(20)...)
	seen := map[string]bool{}
	for _, body := range append(bodies(w.take(one, 10)), bodies(w.take(two, 10))...) {
		seen[body] = true
	}
	w.equal(len(seen), 20)
}

func TestWhatIsNotAckedComesBackFlaggedWhenTheChannelCloses(t *testing.T) {
	w, channel, queue := filled(t, "1", "2", "3")
	reader := w.channel()
	held := w.take(w.consume(reader, queue, ""), 3)
	w.equal(held[0].Redelivered, false)
	w.ok(held[1].Ack(false))
	w.ok(reader.Close())
	first, second := w.get(channel, queue), w.get(channel, queue)
	w.equal([]string{string(first.Body), string(second.Body)}, []string{"1", "3"})
	w.equal([]bool{first.Redelivered, second.Redelivered}, []bool{true, true})
	w.holds(channel, queue)
}

func TestAckMultipleSettlesTheEarlierOnes(t *testing.T) {
	w, channel, queue := filled(t, "1", "2", "3", "4")
	reader := w.channel()
	held := w.take(w.consume(reader, queue, ""), 4)
	w.ok(held[2].Ack(true))
	w.ok(reader.Close())
	w.holds(channel, queue, "4")
}

func TestNackWithRequeueRestoresTheOrder(t *testing.T) {
	w, channel, queue := filled(t, "1", "2", "3")
	first, second := w.get(channel, queue), w.get(channel, queue)
	w.ok(second.Nack(false, true))
	w.ok(first.Nack(false, true))
	for i, want := range []string{"1", "2", "3"} {
		again := w.get(channel, queue)
		w.equal(string(again.Body), want)
		w.equal(again.Redelivered, i < 2)
	}
}

func TestNackMultipleWithRequeueReturnsAll(t *testing.T) {
	w, channel, queue := filled(t, "1", "2", "3")
	w.get(channel, queue)
	w.get(channel, queue)
	w.ok(w.get(channel, queue).Nack(true, true))
	w.holds(channel, queue, "1", "2", "3")
}

func TestRejectDropsOrRequeues(t *testing.T) {
	w, channel, queue := filled(t, "drop", "keep")
	w.ok(w.get(channel, queue).Reject(false))
	w.ok(w.get(channel, queue).Reject(true))
	kept := w.get(channel, queue)
	w.equal(string(kept.Body), "keep")
	w.equal(kept.Redelivered, true)
	w.ok(kept.Ack(false))
	w.holds(channel, queue)
}

func TestRecoverDeliversAgain(t *testing.T) {
	w, channel, queue := filled(t, "1", "2")
	deliveries := w.consume(channel, queue, "")
	w.take(deliveries, 2)
	w.ok(channel.Recover(true))
	again := w.take(deliveries, 2)
	w.equal(bodies(again), []string{"1", "2"})
	w.equal([]bool{again[0].Redelivered, again[1].Redelivered}, []bool{true, true})
	w.equal([]uint64{again[0].DeliveryTag, again[1].DeliveryTag}, []uint64{3, 4})
}

func TestAutoAckNeedsNoAck(t *testing.T) {
	w, channel, queue := filled(t, "1", "2")
	reader := w.channel()
	deliveries, err := reader.Consume(queue, "", true, false, false, false, nil)
	w.ok(err)
	w.take(deliveries, 2)
	w.ok(reader.Close())
	w.holds(channel, queue)
}

func TestGetTakesOneAndCountsTheRest(t *testing.T) {
	w, channel, queue := filled(t, "1", "2", "3")
	got := w.get(channel, queue)
	w.equal([]any{string(got.Body), got.MessageCount, got.DeliveryTag, got.RoutingKey}, []any{"1", uint32(2), uint64(1), queue})
	_, err := channel.QueuePurge(queue, false)
	w.ok(err)
	_, found, err := channel.Get(queue, false)
	w.ok(err)
	w.equal(found, false)
}

func TestACancelledConsumerGetsNothingMoreAndMayStillAck(t *testing.T) {
	w, channel, queue := filled(t, "before")
	deliveries := w.consume(channel, queue, "mine")
	before := w.next(deliveries)
	w.ok(channel.Cancel("mine", false))
	w.publish(channel, "", queue, amqp.Publishing{}, "after")
	w.ok(before.Ack(false))
	w.holds(channel, queue, "after")
	if delivery, open := <-deliveries; open {
		t.Fatalf("delivered after the cancel: %q", delivery.Body)
	}
}

func TestAConsumerIsCancelledWhenItsQueueIsDeleted(t *testing.T) {
	w, channel, queue := filled(t)
	reader := w.channel()
	cancelled := reader.NotifyCancel(make(chan string, 1))
	deliveries := w.consume(reader, queue, "doomed")
	_, err := channel.QueueDelete(queue, false, false, false)
	w.ok(err)
	select {
	case tag := <-cancelled:
		w.equal(tag, "doomed")
	case <-time.After(deadline):
		t.Fatal("not cancelled")
	}
	if _, open := <-deliveries; open {
		t.Fatal("delivered from a deleted queue")
	}
}

func TestAnExclusiveConsumerKeepsOthersAway(t *testing.T) {
	w, channel, queue := filled(t)
	_, err := channel.Consume(queue, "only", false, true, false, false, nil)
	w.ok(err)
	inUse := fmt.Sprintf("ACCESS_REFUSED - queue '%s' in vhost '/' in exclusive use", queue)
	_, err = w.channel().Consume(queue, "", false, false, false, false, nil)
	w.refused(err, amqp.AccessRefused, inUse)
	w.ok(channel.Cancel("only", false))
	w.consume(w.channel(), queue, "")
	_, err = channel.Consume(queue, "", false, true, false, false, nil)
	w.refused(err, amqp.AccessRefused, inUse)
}

func TestAConsumerWithHigherPriorityIsServedFirst(t *testing.T) {
	w, channel, queue := filled(t)
	low, err := w.channel().Consume(queue, "low", true, false, false, false, amqp.Table{"x-priority": int32(-1)})
	w.ok(err)
	high, err := w.channel().Consume(queue, "high", true, false, false, false, amqp.Table{"x-priority": int32(5)})
	w.ok(err)
	w.publish(channel, "", queue, amqp.Publishing{}, "1", "2", "3")
	w.equal(bodies(w.take(high, 3)), []string{"1", "2", "3"})
	w.equal(len(low), 0)
}

func TestRPCMatchesAnswersByCorrelationID(t *testing.T) {
	w, channel, requests := filled(t)
	server := w.channelOn(w.connect(login{}))
	w.ok(server.Qos(5, 0, false))
	calls := w.consume(server, requests, "")
	go func() {
		for call := range calls {
			answer := amqp.Publishing{CorrelationId: call.CorrelationId, Body: []byte(strings.ToUpper(string(call.Body)))}
			_ = server.PublishWithContext(context.Background(), "", call.ReplyTo, false, false, answer)
			_ = call.Ack(false)
		}
	}()
	replies, err := channel.QueueDeclare("", false, false, true, false, nil)
	w.ok(err)
	answers, err := channel.Consume(replies.Name, "", true, true, false, false, nil)
	w.ok(err)
	for i := 0; i < 50; i++ {
		id := fmt.Sprintf("call-%d", i)
		w.publish(channel, "", requests, amqp.Publishing{CorrelationId: id, ReplyTo: replies.Name}, id)
	}
	seen := map[string]bool{}
	for _, answer := range w.take(answers, 50) {
		w.equal(string(answer.Body), strings.ToUpper(answer.CorrelationId))
		seen[answer.CorrelationId] = true
	}
	w.equal(len(seen), 50)
}
