package interop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

func Test404NamesWhatIsMissing(t *testing.T) {
	w := open(t)
	name := w.name("missing")
	queue := fmt.Sprintf("NOT_FOUND - no queue '%s' in vhost '/'", name)
	exchange := fmt.Sprintf("NOT_FOUND - no exchange '%s' in vhost '/'", name)
	_, err := w.channel().QueueDeclarePassive(name, false, false, false, false, nil)
	w.refused(err, amqp.NotFound, queue)
	_, err = w.channel().QueuePurge(name, false)
	w.refused(err, amqp.NotFound, queue)
	_, err = w.channel().Consume(name, "", false, false, false, false, nil)
	w.refused(err, amqp.NotFound, queue)
	_, _, err = w.channel().Get(name, false)
	w.refused(err, amqp.NotFound, queue)
	w.refused(w.channel().QueueBind(name, "k", "amq.direct", false, nil), amqp.NotFound, queue)
	w.refused(w.channel().ExchangeDeclarePassive(name, "direct", false, false, false, false, nil), amqp.NotFound, exchange)
	w.refused(w.channel().ExchangeBind("amq.fanout", "", name, false, nil), amqp.NotFound, exchange)
}

func Test404OnPublishClosesTheChannelOnly(t *testing.T) {
	w := open(t)
	channel := w.channel()
	closed := channel.NotifyClose(make(chan *amqp.Error, 1))
	missing := w.name("missing")
	w.send(channel, missing, "k", "lost")
	w.refused(w.closed(closed), amqp.NotFound, fmt.Sprintf("NOT_FOUND - no exchange '%s' in vhost '/'", missing))
	err := channel.PublishWithContext(context.Background(), "", "k", false, false, amqp.Publishing{})
	if !errors.Is(err, amqp.ErrClosed) {
		t.Fatalf("publishing on a closed channel: %v", err)
	}
	w.ok(w.channel().ExchangeDeclarePassive("amq.direct", "direct", true, false, false, false, nil))
}

func Test405LocksAnExclusiveQueue(t *testing.T) {
	w := open(t)
	name := w.name("exclusive")
	_, err := w.channelOn(w.connect(login{})).QueueDeclare(name, false, false, true, false, nil)
	w.ok(err)
	locked := fmt.Sprintf("RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '%s' in vhost '/'.", name)
	_, err = w.channel().QueueDeclare(name, false, false, true, false, nil)
	w.refused(err, amqp.ResourceLocked, locked)
	_, err = w.channel().Consume(name, "", false, false, false, false, nil)
	w.refused(err, amqp.ResourceLocked, locked)
	_, err = w.channel().QueueDelete(name, false, false, false)
	w.refused(err, amqp.ResourceLocked, locked)
	w.refused(w.channel().QueueBind(name, "k", "amq.direct", false, nil), amqp.ResourceLocked, locked)
}

func Test406SaysWhatDiffersOnRedeclare(t *testing.T) {
	w := open(t)
	channel := w.channel()
	queue := w.declare(channel, false, amqp.Table{"x-message-ttl": int32(1000)})
	start := "PRECONDITION_FAILED - inequivalent arg "
	where := fmt.Sprintf(" for queue '%s' in vhost '/': received ", queue)
	_, err := w.channel().QueueDeclare(queue, true, false, false, false, amqp.Table{"x-message-ttl": int32(1000)})
	w.refused(err, amqp.PreconditionFailed, start+"'durable'"+where+"'true' but current is 'false'")
	_, err = w.channel().QueueDeclare(queue, false, true, false, false, amqp.Table{"x-message-ttl": int32(1000)})
	w.refused(err, amqp.PreconditionFailed, start+"'auto_delete'"+where+"'true' but current is 'false'")
	_, err = w.channel().QueueDeclare(queue, false, false, false, false, nil)
	w.refused(err, amqp.PreconditionFailed, start+"'x-message-ttl'"+where+"none but current is the value '1000' of type 'signedint'")
	_, err = w.channel().QueueDeclare(queue, false, false, false, false, amqp.Table{"x-message-ttl": int64(1000)})
	w.ok(err)
	exchange := w.exchange(channel, "direct", false)
	err = w.channel().ExchangeDeclare(exchange, "fanout", false, false, false, false, nil)
	differs := fmt.Sprintf("'type' for exchange '%s' in vhost '/': received 'fanout' but current is 'direct'", exchange)
	w.refused(err, amqp.PreconditionFailed, start+differs)
}

func Test406RefusesAnUnknownDeliveryTag(t *testing.T) {
	w := open(t)
	for _, settle := range []func(*amqp.Channel) error{
		func(c *amqp.Channel) error { return c.Ack(7, false) },
		func(c *amqp.Channel) error { return c.Nack(7, false, true) },
		func(c *amqp.Channel) error { return c.Reject(7, true) },
	} {
		channel := w.channel()
		closed := channel.NotifyClose(make(chan *amqp.Error, 1))
		w.ok(settle(channel))
		w.refused(w.closed(closed), amqp.PreconditionFailed, "PRECONDITION_FAILED - unknown delivery tag 7")
	}
}

func Test406RefusesDeletingWhatIsUsedOrFull(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	queue := w.queue(channel)
	w.publish(channel, "", queue, amqp.Publishing{}, "kept")
	_, err := w.channel().QueueDelete(queue, false, true, false)
	w.refused(err, amqp.PreconditionFailed, fmt.Sprintf("PRECONDITION_FAILED - queue '%s' in vhost '/' not empty", queue))
	w.consume(channel, queue, "")
	_, err = w.channel().QueueDelete(queue, true, false, false)
	w.refused(err, amqp.PreconditionFailed, fmt.Sprintf("PRECONDITION_FAILED - queue '%s' in vhost '/' in use", queue))
	exchange := w.exchange(channel, "fanout", false)
	w.bind(channel, queue, "", exchange)
	err = w.channel().ExchangeDelete(exchange, true, false)
	w.refused(err, amqp.PreconditionFailed, fmt.Sprintf("PRECONDITION_FAILED - exchange '%s' in vhost '/' in use", exchange))
}

func Test403RefusesAUserVerbByVerb(t *testing.T) {
	w := open(t)
	queue := w.queue(w.channel())
	limited := w.connect(login{user: "limited"})
	refused := func(err error, verb, what string) {
		w.Helper()
		if external != "" {
			verb = "" // RabbitMQ before 3.12 leaves it out.
		}
		text := strings.TrimSpace(verb+" access to "+what) + " in vhost '/' refused for user 'limited'"
		w.refused(err, amqp.AccessRefused, "ACCESS_REFUSED - "+text)
	}
	mine := fmt.Sprintf("queue '%s'", queue)
	_, err := w.channelOn(limited).QueueDeclare(queue, false, false, false, false, nil)
	refused(err, "configure", mine)
	_, err = w.channelOn(limited).QueueDelete(queue, false, false, false)
	refused(err, "configure", mine)
	_, err = w.channelOn(limited).Consume(queue, "", false, false, false, false, nil)
	refused(err, "read", mine)
	_, _, err = w.channelOn(limited).Get(queue, false)
	refused(err, "read", mine)
	refused(w.channelOn(limited).QueueBind(queue, "k", "amq.direct", false, nil), "write", mine)
	refused(w.channelOn(limited).ExchangeDelete("mine", false, false), "configure", "exchange 'mine'")
	channel := w.channelOn(limited)
	closed := channel.NotifyClose(make(chan *amqp.Error, 1))
	w.send(channel, "", queue, "x")
	refused(w.closed(closed), "write", "exchange 'amq.default'")
}

func Test403ReservesNamesOfTheServer(t *testing.T) {
	w := open(t)
	_, err := w.channel().QueueDeclare("amq.mine", false, false, false, false, nil)
	w.refused(err, amqp.AccessRefused, "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'")
	err = w.channel().ExchangeDelete("amq.topic", false, false)
	w.refused(err, amqp.AccessRefused, "ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed")
}

func Test403RefusesAWrongPasswordAtDial(t *testing.T) {
	t.Parallel()
	w := &world{T: t, at: shared}
	// This client does not announce authentication_failure_close, so it is cut off without a word and concludes.
	_, err := w.dial(login{user: "nobody"})
	w.refused(err, amqp.AccessRefused, amqp.ErrCredentials.Reason)
}

func Test530RefusesAVhostAtDial(t *testing.T) {
	w := &world{T: t, at: shared}
	_, err := w.dial(login{vhost: "nowhere"})
	w.refused(err, amqp.NotAllowed, "NOT_ALLOWED - vhost nowhere not found")
	_, err = w.dial(login{user: "limited", vhost: "other"})
	w.refused(err, amqp.NotAllowed, "NOT_ALLOWED - access to vhost 'other' refused for user 'limited'")
}

func Test530RefusesAConsumerTagUsedTwice(t *testing.T) {
	w := open(t)
	channel := w.channel()
	queue := w.queue(channel)
	closed := w.conn.NotifyClose(make(chan *amqp.Error, 1))
	w.consume(channel, queue, "twice")
	_, err := channel.Consume(queue, "twice", false, false, false, false, nil)
	if err == nil {
		t.Fatal("the second consumer was accepted")
	}
	w.refused(w.closed(closed), amqp.NotAllowed, "NOT_ALLOWED - attempt to reuse consumer tag 'twice'")
}

func Test540RefusesWhatRabbitMQDoesNotImplement(t *testing.T) {
	w := open(t)
	for text, attempt := range map[string]func(*amqp.Channel) error{
		"NOT_IMPLEMENTED - prefetch_size!=0 (1024)": func(c *amqp.Channel) error { return c.Qos(1, 1024, false) },
		"NOT_IMPLEMENTED - requeue=false":           func(c *amqp.Channel) error { return c.Recover(false) },
		"NOT_IMPLEMENTED - immediate=true": func(c *amqp.Channel) error {
			return c.PublishWithContext(context.Background(), "amq.direct", "k", false, true, amqp.Publishing{})
		},
	} {
		conn := w.connect(login{})
		closed := conn.NotifyClose(make(chan *amqp.Error, 1))
		_ = attempt(w.channelOn(conn))
		w.refused(w.closed(closed), amqp.NotImplemented, text)
	}
}

func TestARefusedChannelLeavesItsNeighboursAlone(t *testing.T) {
	w := open(t)
	healthy := w.channel()
	queue := w.queue(healthy)
	deliveries := w.consume(healthy, queue, "")
	for i := 0; i < 20; i++ {
		_, err := w.channel().QueueDeclarePassive(w.name("missing"), false, false, false, false, nil)
		w.refused(err, amqp.NotFound, "NOT_FOUND")
	}
	w.send(healthy, "", queue, "still here")
	w.equal(string(w.next(deliveries).Body), "still here")
}

func TestANewSecretIsAccepted(t *testing.T) {
	w := open(t)
	w.ok(w.conn.UpdateSecret("guest", "rotation"))
	w.queue(w.channel())
}
