package interop

import (
	"bytes"
	"context"
	"crypto/rand"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestEveryPublishIsConfirmedInOrder(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	queue := w.durableQueue(channel)
	const count = 1000
	confirms := channel.NotifyPublish(make(chan amqp.Confirmation, count))
	for i := 0; i < count; i++ {
		message := amqp.Publishing{DeliveryMode: uint8(1 + i%2), Body: []byte("x")}
		w.ok(channel.PublishWithContext(context.Background(), "", queue, false, false, message))
	}
	for tag := uint64(1); tag <= count; tag++ {
		select {
		case confirm := <-confirms:
			w.equal(confirm, amqp.Confirmation{DeliveryTag: tag, Ack: true})
		case <-time.After(deadline):
			t.Fatalf("no confirm for %d", tag)
		}
	}
	w.equal(w.ready(channel, queue), count)
}

func TestAMandatoryMessageNobodyTakesIsReturnedBeforeItsConfirm(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	exchange := w.exchange(channel, "direct", false)
	returns := channel.NotifyReturn(make(chan amqp.Return, 1))
	message := amqp.Publishing{MessageId: "m-1", Headers: amqp.Table{"kept": "yes"}, Body: []byte("come back")}
	confirm, err := channel.PublishWithDeferredConfirmWithContext(context.Background(), exchange, "nowhere", true, false, message)
	w.ok(err)
	select {
	case <-confirm.Done():
	case <-time.After(deadline):
		t.Fatal("no confirm")
	}
	select {
	case returned := <-returns:
		w.equal([]any{returned.ReplyCode, returned.ReplyText}, []any{uint16(amqp.NoRoute), "NO_ROUTE"})
		w.equal([]string{returned.Exchange, returned.RoutingKey}, []string{exchange, "nowhere"})
		w.equal([]string{returned.MessageId, string(returned.Body)}, []string{"m-1", "come back"})
		w.equal(returned.Headers, amqp.Table{"kept": "yes"})
	default:
		t.Fatal("confirmed before it was returned")
	}
}

func TestAMessageWithoutARouteIsDroppedAndConfirmed(t *testing.T) {
	w := open(t)
	w.publish(w.confirming(), "amq.direct", w.name("nowhere"), amqp.Publishing{}, "gone")
}

func TestEmptyAndLargeBodiesArriveUnchanged(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	queue := w.durableQueue(channel)
	large := make([]byte, 5<<20)
	_, err := rand.Read(large)
	w.ok(err)
	deliveries := w.consume(channel, queue, "")
	w.publish(channel, "", queue, amqp.Publishing{DeliveryMode: amqp.Persistent}, "", string(large), "")
	for _, want := range [][]byte{{}, large, {}} {
		delivery := w.next(deliveries)
		if !bytes.Equal(delivery.Body, want) {
			t.Fatalf("%d bytes came back as %d", len(want), len(delivery.Body))
		}
		w.ok(delivery.Ack(false))
	}
}

func TestBodiesAroundTheFrameSizeArriveUnchanged(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	queue := w.queue(channel)
	for _, size := range []int{1, 4088, 4089, 131063, 131064, 131065, 262128, 262129} {
		body := bytes.Repeat([]byte{0xCE}, size)
		w.publish(channel, "", queue, amqp.Publishing{}, string(body))
		if got := w.get(channel, queue).Body; !bytes.Equal(got, body) {
			t.Fatalf("%d bytes came back as %d", size, len(got))
		}
	}
}

func TestAllPropertiesComeBackAsSent(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	queue := w.queue(channel)
	sent := amqp.Publishing{
		Headers:         amqp.Table{"a": "b"},
		ContentType:     "application/json; charset=utf-8",
		ContentEncoding: "gzip",
		DeliveryMode:    amqp.Persistent,
		Priority:        7,
		CorrelationId:   "correlation-ü",
		ReplyTo:         "reply.queue",
		Expiration:      "600000",
		MessageId:       "message-1",
		Timestamp:       time.Unix(1_700_000_000, 0),
		Type:            "order.placed",
		UserId:          "guest",
		AppId:           "interop",
	}
	w.publish(channel, "", queue, sent, "body")
	got := w.get(channel, queue)
	if !got.Timestamp.Equal(sent.Timestamp) {
		t.Fatalf("timestamp %s", got.Timestamp)
	}
	w.equal(amqp.Publishing{
		Headers: got.Headers, ContentType: got.ContentType, ContentEncoding: got.ContentEncoding,
		DeliveryMode: got.DeliveryMode, Priority: got.Priority, CorrelationId: got.CorrelationId,
		ReplyTo: got.ReplyTo, Expiration: got.Expiration, MessageId: got.MessageId, Timestamp: sent.Timestamp,
		Type: got.Type, UserId: got.UserId, AppId: got.AppId,
	}, sent)
}

func TestAMessageWithoutPropertiesComesBackWithout(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	queue := w.queue(channel)
	w.publish(channel, "", queue, amqp.Publishing{}, "bare")
	got := w.get(channel, queue)
	w.equal(len(got.Headers), 0)
	w.equal([]any{got.ContentType, got.DeliveryMode, got.Priority, got.MessageId, got.Timestamp.IsZero()},
		[]any{"", uint8(0), uint8(0), "", true})
}

func TestNestedHeaderTablesOfEveryTypeComeBackAsSent(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	queue := w.queue(channel)
	headers := everyType()
	headers["table"] = amqp.Table{"deeper": amqp.Table{"list": []any{everyType(), []any{}, amqp.Table{}}}}
	headers["list"] = []any{int32(1), "two", []any{int64(3), []any{"four"}}, amqp.Table{"five": int16(5)}, nil, true}
	w.publish(channel, "", queue, amqp.Publishing{Headers: headers}, "body")
	w.equal(sameClock(w.get(channel, queue).Headers), sameClock(headers))
}

func everyType() amqp.Table {
	return amqp.Table{
		"yes": true, "no": false,
		"byte": int8(-128), "unsigned byte": uint8(255),
		"short": int16(-32768), "unsigned short": uint16(65535),
		"int": int32(-2147483648), "unsigned int": uint32(4294967295),
		"long":  int64(-9223372036854775808),
		"float": float32(1.5), "double": 3.141592653589793,
		"decimal": amqp.Decimal{Scale: 2, Value: 31415},
		"text":    "Grüße, 世界", "empty": "", "bytes": []byte{0, 1, 127, 128, 255},
		"time": time.Unix(1_700_000_000, 0), "nothing": nil,
	}
}

// sameClock gives every time in a table one time zone, so that equal moments compare equal.
func sameClock(value any) any {
	switch value := value.(type) {
	case time.Time:
		return value.UTC()
	case amqp.Table:
		table := amqp.Table{}
		for key, inner := range value {
			table[key] = sameClock(inner)
		}
		return table
	case []any:
		list := []any{}
		for _, inner := range value {
			list = append(list, sameClock(inner))
		}
		return list
	default:
		return value
	}
}

func TestCCAndBCCReachFurtherQueuesAndBCCIsNotSeen(t *testing.T) {
	w := open(t)
	channel := w.confirming()
	first, second, third := w.queue(channel), w.queue(channel), w.queue(channel)
	headers := amqp.Table{"CC": []any{second}, "BCC": []any{third}}
	w.publish(channel, "", first, amqp.Publishing{Headers: headers}, "copied")
	for _, queue := range []string{first, second, third} {
		w.equal(w.get(channel, queue).Headers, amqp.Table{"CC": []any{second}})
	}
}
