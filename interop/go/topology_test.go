package interop

import (
	"fmt"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestADirectExchangeRoutesOnTheWholeKey(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	exchange := w.exchange(channel, "direct", false)
	red, blue := w.queue(channel), w.queue(channel)
	w.bind(channel, red, "red", exchange)
	w.bind(channel, blue, "blue", exchange)
	w.bind(channel, blue, "red.dark", exchange)
	for _, key := range []string{"red", "blue", "red.dark", "green"} {
		w.publish(channel, exchange, key, amqp.Publishing{}, key)
	}
	w.holds(channel, red, "red")
	w.holds(channel, blue, "blue", "red.dark")
}

func TestAFanoutExchangeCopiesToEveryQueue(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	exchange := w.exchange(channel, "fanout", false)
	queues := []string{w.queue(channel), w.queue(channel), w.queue(channel)}
	for i, queue := range queues {
		w.bind(channel, queue, fmt.Sprint(i), exchange)
	}
	w.publish(channel, exchange, "whatever", amqp.Publishing{}, "one", "two")
	for _, queue := range queues {
		w.holds(channel, queue, "one", "two")
	}
}

func TestATopicExchangeMatchesWords(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	exchange := w.exchange(channel, "topic", false)
	patterns := map[string][]string{
		"order.*":    {"order.placed"},
		"order.#":    {"order", "order.placed", "order.placed.eu"},
		"*.placed":   {"order.placed", "invoice.placed"},
		"#.placed.#": {"order.placed", "order.placed.eu", "invoice.placed"},
		"*":          {"order"},
	}
	queues := map[string]string{}
	for pattern := range patterns {
		queues[pattern] = w.queue(channel)
		w.bind(channel, queues[pattern], pattern, exchange)
	}
	for _, key := range []string{"order", "order.placed", "order.placed.eu", "invoice.placed"} {
		w.publish(channel, exchange, key, amqp.Publishing{}, key)
	}
	for pattern, want := range patterns {
		w.holds(channel, queues[pattern], want...)
	}
}

func TestAHeadersExchangeMatchesAllOrAny(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	exchange := w.exchange(channel, "headers", false)
	all, either := w.queue(channel), w.queue(channel)
	w.ok(channel.QueueBind(all, "", exchange, false, amqp.Table{"x-match": "all", "format": "pdf", "pages": int32(3)}))
	w.ok(channel.QueueBind(either, "", exchange, false, amqp.Table{"x-match": "any", "format": "pdf", "pages": int32(3)}))
	w.publish(channel, exchange, "", amqp.Publishing{Headers: amqp.Table{"format": "pdf", "pages": int32(3)}}, "both")
	w.publish(channel, exchange, "", amqp.Publishing{Headers: amqp.Table{"format": "pdf", "pages": int32(4)}}, "one")
	w.publish(channel, exchange, "", amqp.Publishing{Headers: amqp.Table{"format": "odt"}}, "none")
	w.publish(channel, exchange, "", amqp.Publishing{}, "bare")
	w.holds(channel, all, "both")
	w.holds(channel, either, "both", "one")
}

func TestTheDefaultExchangeReachesAQueueByItsName(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	queue := w.queue(channel)
	w.publish(channel, "", queue, amqp.Publishing{}, "hello")
	w.holds(channel, queue, "hello")
}

func TestAnExchangePassesOnToAnExchangeUntilUnbound(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	source, target := w.exchange(channel, "topic", false), w.exchange(channel, "fanout", false)
	queue := w.queue(channel)
	w.bind(channel, queue, "", target)
	w.ok(channel.ExchangeBind(target, "news.#", source, false, nil))
	w.publish(channel, source, "news.local", amqp.Publishing{}, "passed")
	w.publish(channel, source, "sport", amqp.Publishing{}, "stopped")
	w.ok(channel.ExchangeUnbind(target, "news.#", source, false, nil))
	w.publish(channel, source, "news.local", amqp.Publishing{}, "unbound")
	w.holds(channel, queue, "passed")
}

func TestAnUnboundQueueGetsNothingMore(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	exchange, queue := w.exchange(channel, "direct", false), w.queue(channel)
	w.bind(channel, queue, "k", exchange)
	w.publish(channel, exchange, "k", amqp.Publishing{}, "bound")
	w.ok(channel.QueueUnbind(queue, "k", exchange, nil))
	w.publish(channel, exchange, "k", amqp.Publishing{}, "unbound")
	w.holds(channel, queue, "bound")
}

func TestAnAlternateExchangeTakesWhatNothingElseMatched(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	unmatched := w.exchange(channel, "fanout", false)
	exchange := w.name("direct")
	arguments := amqp.Table{"alternate-exchange": unmatched}
	w.ok(channel.ExchangeDeclare(exchange, "direct", false, false, false, false, arguments))
	w.sweep(func(c *amqp.Channel) { _ = c.ExchangeDelete(exchange, false, false) })
	queue := w.queue(channel)
	w.bind(channel, queue, "", unmatched)
	w.publish(channel, exchange, "nowhere", amqp.Publishing{}, "strayed")
	w.holds(channel, queue, "strayed")
}

func TestDeclaringWithoutWaitingWorks(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	exchange, queue := w.name("fanout"), w.name("queue")
	w.ok(channel.ExchangeDeclare(exchange, "fanout", false, true, false, true, nil))
	_, err := channel.QueueDeclare(queue, false, false, true, true, nil)
	w.ok(err)
	w.ok(channel.QueueBind(queue, "", exchange, true, nil))
	w.publish(channel, exchange, "", amqp.Publishing{}, "arrived")
	w.holds(channel, queue, "arrived")
}

func TestAServerNamedQueueGetsAFreshName(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	first, err := channel.QueueDeclare("", false, false, true, false, nil)
	w.ok(err)
	second, err := channel.QueueDeclare("", false, false, true, false, nil)
	w.ok(err)
	if !strings.HasPrefix(first.Name, "amq.gen-") || first.Name == second.Name {
		t.Fatalf("names %q and %q", first.Name, second.Name)
	}
	w.publish(channel, "", first.Name, amqp.Publishing{}, "to a name of the server")
	w.holds(channel, first.Name, "to a name of the server")
}

func TestAnExclusiveQueueGoesWithItsConnection(t *testing.T) {
	w := open(t)
	owner := w.connect(login{})
	name := w.name("exclusive")
	_, err := w.channelOn(owner).QueueDeclare(name, false, false, true, false, nil)
	w.ok(err)
	_, err = w.channel().QueueDeclarePassive(name, false, false, true, false, nil)
	w.refused(err, amqp.ResourceLocked, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '"+name+"' in vhost '/'")
	w.ok(owner.Close())
	_, err = w.channel().QueueDeclarePassive(name, false, false, true, false, nil)
	w.refused(err, amqp.NotFound, "NOT_FOUND - no queue '"+name+"' in vhost '/'")
}

func TestAnAutoDeleteQueueGoesWithItsLastConsumer(t *testing.T) {
	w := open(t)
	channel := w.channel()
	name := w.name("auto-delete")
	_, err := channel.QueueDeclare(name, false, true, false, false, nil)
	w.ok(err)
	w.consume(channel, name, "one")
	w.consume(channel, name, "two")
	w.ok(channel.Cancel("one", false))
	state, err := channel.QueueDeclarePassive(name, false, true, false, false, nil)
	w.ok(err)
	w.equal(state.Consumers, 1)
	w.ok(channel.Cancel("two", false))
	_, err = channel.QueueDeclarePassive(name, false, true, false, false, nil)
	w.refused(err, amqp.NotFound, "NOT_FOUND - no queue '"+name+"' in vhost '/'")
}

func TestPurgeAndDeleteCountWhatTheyRemove(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	queue := w.queue(channel)
	w.publish(channel, "", queue, amqp.Publishing{}, "1", "2", "3")
	purged, err := channel.QueuePurge(queue, false)
	w.ok(err)
	w.equal(purged, 3)
	w.publish(channel, "", queue, amqp.Publishing{}, "4", "5")
	deleted, err := channel.QueueDelete(queue, false, false, false)
	w.ok(err)
	w.equal(deleted, 2)
	again, err := channel.QueueDelete(queue, false, false, false)
	w.ok(err)
	w.equal(again, 0)
}
