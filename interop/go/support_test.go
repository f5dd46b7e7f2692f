package interop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// deadline bounds every wait; watchdog bounds a test, because the client itself waits for replies without end.
const (
	deadline = 10 * time.Second
	watchdog = 30 * time.Second
)

var named atomic.Int64

// world is what one test opens and declares; everything is gone when the test ends.
type world struct {
	*testing.T
	at   string
	conn *amqp.Connection
}

// login is how a connection differs from guest's to "/".
type login struct {
	user, vhost string
	heartbeat   time.Duration
	recovery    *amqp.Recovery
	wrap        func(net.Conn) net.Conn
}

func open(t *testing.T) *world {
	t.Helper()
	return openAt(t, shared)
}

func openAt(t *testing.T, at string) *world {
	t.Helper()
	w := &world{T: t, at: at}
	w.conn = w.connect(login{})
	return w
}

// connect dials; the connection ends with the test, or with the watchdog.
func (w *world) connect(l login) *amqp.Connection {
	w.Helper()
	conn, err := w.dial(l)
	w.ok(err)
	w.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (w *world) dial(l login) (*amqp.Connection, error) {
	if l.user == "" {
		l.user = "guest"
	}
	if l.vhost == "" {
		l.vhost = "/"
	}
	if l.heartbeat == 0 {
		l.heartbeat = 10 * time.Second
	}
	config := amqp.Config{
		Vhost:      l.vhost,
		Heartbeat:  l.heartbeat,
		Recovery:   l.recovery,
		Properties: amqp.Table{"connection_name": "interop-go " + w.Name()},
		Dial: func(network, address string) (net.Conn, error) {
			socket, err := amqp.DefaultDial(deadline)(network, address)
			if err != nil {
				return nil, err
			}
			timer := time.AfterFunc(watchdog, func() { _ = socket.Close() })
			w.Cleanup(func() { timer.Stop() })
			if l.wrap != nil {
				return l.wrap(socket), nil
			}
			return socket, nil
		},
	}
	return amqp.DialConfig(fmt.Sprintf("amqp://%s:%s@%s", l.user, l.user, w.at), config)
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) equal(got, want any) {
	w.Helper()
	if !reflect.DeepEqual(got, want) {
		w.Fatalf("got  %#v\nwant %#v", got, want)
	}
}

func (w *world) channel() *amqp.Channel {
	w.Helper()
	return w.channelOn(w.conn)
}

func (w *world) channelOn(conn *amqp.Connection) *amqp.Channel {
	w.Helper()
	channel, err := conn.Channel()
	w.ok(err)
	return channel
}

// confirming is a channel on which every publish is confirmed.
func (w *world) confirming() *amqp.Channel {
	w.Helper()
	channel := w.channel()
	w.ok(channel.Confirm(false))
	return channel
}

func (w *world) name(label string) string {
	return fmt.Sprintf("go-%d-%d-%s", os.Getpid(), named.Add(1), label)
}

// queue declares a transient queue; durableQueue one that survives.
func (w *world) queue(channel *amqp.Channel) string {
	w.Helper()
	return w.declare(channel, false, nil)
}

func (w *world) durableQueue(channel *amqp.Channel) string {
	w.Helper()
	return w.declare(channel, true, nil)
}

func (w *world) declare(channel *amqp.Channel, durable bool, arguments amqp.Table) string {
	w.Helper()
	name := w.name("queue")
	_, err := channel.QueueDeclare(name, durable, false, false, false, arguments)
	w.ok(err)
	w.sweep(func(c *amqp.Channel) { _, _ = c.QueueDelete(name, false, false, false) })
	return name
}

func (w *world) exchange(channel *amqp.Channel, kind string, durable bool) string {
	w.Helper()
	name := w.name(kind)
	w.ok(channel.ExchangeDeclare(name, kind, durable, false, false, false, nil))
	w.sweep(func(c *amqp.Channel) { _ = c.ExchangeDelete(name, false, false) })
	return name
}

// sweep removes what a test declared over a connection of its own: the test's may be broken by then.
func (w *world) sweep(remove func(*amqp.Channel)) {
	w.Cleanup(func() {
		conn, err := w.dial(login{})
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		if channel, err := conn.Channel(); err == nil {
			remove(channel)
		}
	})
}

func (w *world) bind(channel *amqp.Channel, queue, key, exchange string) {
	w.Helper()
	w.ok(channel.QueueBind(queue, key, exchange, false, nil))
}

// publish sends the bodies with `like`'s properties and waits until all are confirmed.
func (w *world) publish(channel *amqp.Channel, exchange, key string, like amqp.Publishing, bodies ...string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	var confirms []*amqp.DeferredConfirmation
	for _, body := range bodies {
		like.Body = []byte(body)
		confirm, err := channel.PublishWithDeferredConfirmWithContext(ctx, exchange, key, false, false, like)
		w.ok(err)
		confirms = append(confirms, confirm)
	}
	for _, confirm := range confirms {
		acked, err := confirm.WaitContext(ctx)
		w.ok(err)
		w.equal(acked, true)
	}
}

func (w *world) send(channel *amqp.Channel, exchange, key, body string) {
	w.Helper()
	w.ok(channel.PublishWithContext(context.Background(), exchange, key, false, false, amqp.Publishing{Body: []byte(body)}))
}

func (w *world) consume(channel *amqp.Channel, queue, tag string) <-chan amqp.Delivery {
	w.Helper()
	deliveries, err := channel.Consume(queue, tag, false, false, false, false, nil)
	w.ok(err)
	return deliveries
}

func (w *world) next(deliveries <-chan amqp.Delivery) amqp.Delivery {
	w.Helper()
	select {
	case delivery, open := <-deliveries:
		if !open {
			w.Fatal("the deliveries ended")
		}
		return delivery
	case <-time.After(deadline):
		w.Fatalf("no delivery within %s", deadline)
	}
	panic("Fatal does not return")
}

func (w *world) take(deliveries <-chan amqp.Delivery, count int) []amqp.Delivery {
	w.Helper()
	var taken []amqp.Delivery
	for len(taken) < count {
		taken = append(taken, w.next(deliveries))
	}
	return taken
}

// get takes one message that must be there, without acking it.
func (w *world) get(channel *amqp.Channel, queue string) amqp.Delivery {
	w.Helper()
	delivery, found, err := channel.Get(queue, false)
	w.ok(err)
	if !found {
		w.Fatalf("nothing in %s", queue)
	}
	return delivery
}

// holds asserts that the queue holds exactly these bodies, and takes them out.
func (w *world) holds(channel *amqp.Channel, queue string, want ...string) {
	w.Helper()
	got := []string{}
	for {
		delivery, found, err := channel.Get(queue, true)
		w.ok(err)
		if !found {
			break
		}
		got = append(got, string(delivery.Body))
	}
	if len(got) != len(want) || (len(got) > 0 && !reflect.DeepEqual(got, want)) {
		w.Fatalf("%s holds %q, wanted %q", queue, got, want)
	}
}

func (w *world) ready(channel *amqp.Channel, queue string) int {
	w.Helper()
	state, err := channel.QueueDeclarePassive(queue, false, false, false, false, nil)
	w.ok(err)
	return state.Messages
}

// refused asserts that the broker's refusal reached us as the client's own error with this code and text.
func (w *world) refused(err error, code int, text string) {
	w.Helper()
	var refusal *amqp.Error
	if !errors.As(err, &refusal) {
		w.Fatalf("wanted a refusal %d %q, got %v", code, text, err)
	}
	if refusal.Code != code || !strings.HasPrefix(refusal.Reason, text) {
		w.Fatalf("got  %d %q\nwant %d %q", refusal.Code, refusal.Reason, code, text)
	}
}

// closed waits for the error with which a channel or connection was closed.
func (w *world) closed(notified <-chan *amqp.Error) error {
	w.Helper()
	select {
	case err := <-notified:
		if err == nil {
			return errors.New("closed without an error")
		}
		return err
	case <-time.After(deadline):
		w.Fatalf("not closed within %s", deadline)
		return nil
	}
}

// eventually polls until `probe` is true.
func (w *world) eventually(what string, probe func() bool) {
	w.Helper()
	for end := time.Now().Add(deadline); !probe(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("waited %s for %s", deadline, what)
		}
	}
}

func bodies(deliveries []amqp.Delivery) []string {
	var texts []string
	for _, delivery := range deliveries {
		texts = append(texts, string(delivery.Body))
	}
	return texts
}

func numbers(count int) []string {
	var texts []string
	for i := 0; i < count; i++ {
		texts = append(texts, fmt.Sprint(i))
	}
	return texts
}
