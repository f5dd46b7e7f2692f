package interop

import (
	"bytes"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// killable is a broker of our own, shared by the tests that kill it: they run one after another.
var killable struct {
	sync.Mutex
	*broker
}

// ownBroker lends the killable broker to one test.
func ownBroker(t *testing.T) *broker {
	t.Helper()
	if external != "" {
		t.Skip("the broker is not ours to kill")
	}
	killable.Lock()
	if killable.broker == nil {
		started, err := startBroker(1)
		if err != nil {
			killable.Unlock()
			t.Fatal(err)
		}
		killable.broker = started
	}
	t.Cleanup(killable.Unlock)
	return killable.broker
}

// killAndRestart replaces the world's connection by one to the broker's next life.
func (w *world) killAndRestart(b *broker) {
	w.Helper()
	closed := w.conn.NotifyClose(make(chan *amqp.Error, 1))
	b.kill()
	if err := w.closed(closed); err == nil {
		w.Fatal("the client did not notice")
	}
	w.ok(b.start())
	w.conn = w.connect(login{})
}

func TestDurableMessagesSurviveAKillInOrder(t *testing.T) {
	b := ownBroker(t)
	w := openAt(t, b.address())
	publisher := w.confirming()
	exchange, queue := w.exchange(publisher, "topic", true), w.durableQueue(publisher)
	w.bind(publisher, queue, "order.#", exchange)
	like := amqp.Publishing{DeliveryMode: amqp.Persistent, Headers: amqp.Table{"nested": amqp.Table{"list": []any{int32(1), "two"}}}}
	w.publish(publisher, exchange, "order.placed", like, numbers(100)...)
	w.publish(publisher, exchange, "order.placed", amqp.Publishing{DeliveryMode: amqp.Transient}, "transient")
	reader := w.channel()
	w.ok(reader.Qos(10, 0, false))
	w.take(w.consume(reader, queue, ""), 10)

	w.killAndRestart(b)
	channel := w.confirming()
	back := w.take(w.consume(channel, queue, "again"), 100)
	w.equal(bodies(back), numbers(100))
	for _, delivery := range back[:10] {
		w.equal(delivery.Redelivered, true)
	}
	w.equal(back[50].Headers, like.Headers)
	w.equal(back[50].DeliveryMode, uint8(amqp.Persistent))
	w.ok(back[99].Ack(true))
	w.ok(channel.Cancel("again", false))
	w.publish(channel, exchange, "order.paid", like, "the binding is still there")
	w.holds(channel, queue, "the binding is still there")
}

func TestTransientQueuesAreGoneAfterAKill(t *testing.T) {
	b := ownBroker(t)
	w := openAt(t, b.address())
	queue := w.queue(w.channel())
	w.killAndRestart(b)
	_, err := w.channel().QueueDeclarePassive(queue, false, false, false, false, nil)
	w.refused(err, amqp.NotFound, "NOT_FOUND - no queue '"+queue+"' in vhost '/'")
}

func TestALargeMessageSurvivesAKill(t *testing.T) {
	b := ownBroker(t)
	w := openAt(t, b.address())
	publisher := w.confirming()
	queue := w.durableQueue(publisher)
	large := bytes.Repeat([]byte("leveret "), 5<<20/8)
	w.publish(publisher, "", queue, amqp.Publishing{DeliveryMode: amqp.Persistent}, string(large), "")
	w.killAndRestart(b)
	channel := w.channel()
	if got := w.get(channel, queue).Body; !bytes.Equal(got, large) {
		t.Fatalf("%d bytes came back as %d", len(large), len(got))
	}
	w.equal(len(w.get(channel, queue).Body), 0)
}

func TestACommittedTransactionSurvivesAKillAndAnOpenOneDoesNot(t *testing.T) {
	b := ownBroker(t)
	w := openAt(t, b.address())
	tx := w.channel()
	one, two := w.durableQueue(tx), w.durableQueue(tx)
	w.ok(tx.Tx())
	for _, queue := range []string{one, two} {
		w.sendPersistent(tx, queue, "committed")
	}
	w.ok(tx.TxCommit())
	for _, queue := range []string{one, two} {
		w.sendPersistent(tx, queue, "open")
	}
	w.equal(w.ready(tx, one), 1)
	w.killAndRestart(b)
	channel := w.channel()
	w.holds(channel, one, "committed")
	w.holds(channel, two, "committed")
}

func TestTheClientsOwnRecoveryRestoresTopologyAndConsumer(t *testing.T) {
	b := ownBroker(t)
	w := openAt(t, b.address())
	recovery := &amqp.Recovery{ReconnectionConfig: &amqp.ReconnectionConfig{MaxRetryCount: 500, RetryInterval: 20 * time.Millisecond}}
	recovering := w.connect(login{recovery: recovery})
	states := make(chan *amqp.StateChanged, 10)
	recovering.NotifyStateChange(states)
	channel := w.channelOn(recovering)
	durable := w.durableQueue(channel)
	temporary, err := channel.QueueDeclare(w.name("temporary"), false, true, true, false, nil)
	w.ok(err)
	w.bind(channel, temporary.Name, "k", "amq.direct")
	fromDurable, fromTemporary := w.consume(channel, durable, "durable"), w.consume(channel, temporary.Name, "temporary")

	w.killAndRestart(b)
	w.reopened(states)
	publisher := w.confirming()
	w.publish(publisher, "", durable, amqp.Publishing{}, "to the durable queue")
	w.publish(publisher, "amq.direct", "k", amqp.Publishing{}, "to the temporary queue")
	w.equal(string(w.next(fromDurable).Body), "to the durable queue")
	w.equal(string(w.next(fromTemporary).Body), "to the temporary queue")
}

func TestAStopClosesConnectionsWith320(t *testing.T) {
	b := ownBroker(t)
	w := openAt(t, b.address())
	publisher := w.confirming()
	queue := w.durableQueue(publisher)
	w.publish(publisher, "", queue, amqp.Publishing{DeliveryMode: amqp.Persistent}, "kept")
	closed := w.conn.NotifyClose(make(chan *amqp.Error, 1))
	w.ok(b.stop())
	w.refused(w.closed(closed), amqp.ConnectionForced, "CONNECTION_FORCED - ")
	w.ok(b.start())
	w.conn = w.connect(login{})
	w.holds(w.channel(), queue, "kept")
}

func (w *world) sendPersistent(channel *amqp.Channel, queue, body string) {
	w.Helper()
	message := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)}
	w.ok(channel.Publish("", queue, false, false, message))
}

// reopened waits until the recovering connection is open again.
func (w *world) reopened(states <-chan *amqp.StateChanged) {
	w.Helper()
	late := time.After(deadline)
	for {
		select {
		case state := <-states:
			if state.From == amqp.StateReconnecting && state.To == amqp.StateOpen {
				w.equal(len(state.SkippedTopologyEntities), 0)
				return
			}
		case <-late:
			w.Fatal("the client did not recover")
		}
	}
}
