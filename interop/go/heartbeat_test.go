package interop

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestAnIdleConnectionLivesOnHeartbeats(t *testing.T) {
	t.Parallel()
	w := open(t)
	conn := w.connect(login{heartbeat: time.Second})
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	channel := w.channelOn(conn)
	queue := w.queue(channel)
	// The idle pause is the subject: longer than three intervals, after which either side would give up.
	select {
	case err := <-closed:
		t.Fatal(err)
	case <-time.After(3500 * time.Millisecond):
	}
	w.send(channel, "", queue, "still connected")
	w.holds(channel, queue, "still connected")
}

// mutable is a socket that can be made to swallow what is written, as a network that lost its route does.
type mutable struct {
	net.Conn
	mute *atomic.Bool
}

func (m mutable) Write(bytes []byte) (int, error) {
	if m.mute.Load() {
		return len(bytes), nil
	}
	return m.Conn.Write(bytes)
}

func TestAClientThatFallsSilentIsDroppedAndItsMessagesReturn(t *testing.T) {
	t.Parallel()
	w := open(t)
	channel := w.confirming()
	queue := w.queue(channel)
	w.publish(channel, "", queue, amqp.Publishing{}, "held")
	var mute atomic.Bool
	silent := w.connect(login{heartbeat: time.Second, wrap: func(c net.Conn) net.Conn { return mutable{c, &mute} }})
	closed := silent.NotifyClose(make(chan *amqp.Error, 1))
	w.next(w.consume(w.channelOn(silent), queue, ""))
	w.equal(w.ready(channel, queue), 0)
	mute.Store(true)
	if err := w.closed(closed); err == nil {
		t.Fatal("the silent client was closed without an error")
	}
	w.eventually("the message to return", func() bool { return w.ready(channel, queue) == 1 })
	w.equal(w.get(channel, queue).Redelivered, true)
}
