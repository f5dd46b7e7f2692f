package interop

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// transactional is a world with a tx channel beside a plain one that looks on.
func transactional(t *testing.T) (w *world, tx, plain *amqp.Channel, queue string) {
	t.Helper()
	w = open(t)
	plain = w.confirming()
	queue = w.queue(plain)
	tx = w.channel()
	w.ok(tx.Tx())
	return w, tx, plain, queue
}

func TestTxPublishesAppearTogetherAtCommit(t *testing.T) {
	w, tx, plain, queue := transactional(t)
	other := w.queue(plain)
	w.send(tx, "", queue, "1")
	w.send(tx, "", other, "2")
	w.send(tx, "", queue, "3")
	// The reply proves that the broker has read the publishes before it.
	w.equal(w.ready(tx, queue), 0)
	w.equal(w.ready(plain, other), 0)
	w.ok(tx.TxCommit())
	w.holds(plain, queue, "1", "3")
	w.holds(plain, other, "2")
}

func TestTxRollbackDropsThePublishes(t *testing.T) {
	w, tx, plain, queue := transactional(t)
	w.send(tx, "", queue, "dropped")
	w.ok(tx.TxRollback())
	w.send(tx, "", queue, "kept")
	w.ok(tx.TxCommit())
	w.holds(plain, queue, "kept")
}

func TestTxClosingTheChannelRollsBack(t *testing.T) {
	w, tx, plain, queue := transactional(t)
	w.send(tx, "", queue, "dropped")
	w.ok(tx.Close())
	w.holds(plain, queue)
}

func TestTxAcksCountFromTheCommitOn(t *testing.T) {
	w, tx, plain, queue := transactional(t)
	w.publish(plain, "", queue, amqp.Publishing{}, "1", "2")
	w.ok(w.get(tx, queue).Ack(false))
	w.ok(tx.TxCommit())
	w.ok(w.get(tx, queue).Ack(false))
	w.ok(tx.Close())
	again := w.get(plain, queue)
	w.equal([]any{string(again.Body), again.Redelivered}, []any{"2", true})
	w.ok(again.Ack(false))
	w.holds(plain, queue)
}

func TestTxRollbackMakesAcksOutstandingAgain(t *testing.T) {
	w, tx, plain, queue := transactional(t)
	w.publish(plain, "", queue, amqp.Publishing{}, "1")
	held := w.get(tx, queue)
	w.ok(held.Ack(false))
	w.ok(tx.TxRollback())
	w.holds(plain, queue)
	w.ok(held.Ack(false))
	w.ok(tx.TxCommit())
	w.ok(tx.Close())
	w.holds(plain, queue)
}

func TestTxMovesAMessageFromQueueToQueue(t *testing.T) {
	w, tx, plain, queue := transactional(t)
	target := w.queue(plain)
	w.publish(plain, "", queue, amqp.Publishing{}, numbers(10)...)
	for _, delivery := range w.take(w.consume(tx, queue, "mover"), 10) {
		w.send(tx, "", target, string(delivery.Body))
		w.ok(delivery.Ack(false))
	}
	w.ok(tx.TxCommit())
	w.ok(tx.Close())
	w.holds(plain, queue)
	w.holds(plain, target, numbers(10)...)
}

func TestTxAndConfirmsDoNotMix(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	w.refused(channel.Tx(), amqp.PreconditionFailed, "PRECONDITION_FAILED - cannot switch from confirm to tx mode")
	channel = w.channel()
	w.ok(channel.Tx())
	w.refused(channel.Confirm(false), amqp.PreconditionFailed, "PRECONDITION_FAILED - cannot switch from tx to confirm mode")
}

func TestTxCommitNeedsASelect(t *testing.T) {
	w := open(t)
	const text = "PRECONDITION_FAILED - channel is not transactional"
	w.refused(w.channel().TxCommit(), amqp.PreconditionFailed, text)
	w.refused(w.channel().TxRollback(), amqp.PreconditionFailed, text)
}

func TestTxRefusesAMissingExchangeAtOnce(t *testing.T) {
	w, tx, _, _ := transactional(t)
	closed := tx.NotifyClose(make(chan *amqp.Error, 1))
	missing := w.name("missing")
	w.send(tx, missing, "k", "lost")
	w.refused(w.closed(closed), amqp.NotFound, "NOT_FOUND - no exchange '"+missing+"' in vhost '/'")
}
