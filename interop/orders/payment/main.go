// Payment charges each placed order and publishes that it is paid.
//
// The order of its steps is the point: write the book, publish order.paid, wait for the confirm, ack. Whatever kills it
// in between, the broker hands the order out again with the redelivered flag.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	queue             = "orders.payment"
	reconnectDeadline = 30 * time.Second
	confirmDeadline   = 10 * time.Second
)

type payment struct {
	url  string
	book *os.File
	paid int
}

func main() {
	book, err := os.OpenFile(os.Getenv("ORDERS_BOOK"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	p := &payment{url: os.Getenv("ORDERS_URL"), book: book}
	for stop.Err() == nil {
		conn, err := p.connect()
		if err != nil {
			log.Fatal(err)
		}
		if err := p.serve(stop, conn); err != nil {
			fmt.Println("lost the broker:", err)
		}
		_ = conn.Close()
	}
}

// connect tries until the broker answers, for as long as a restart may take.
func (p *payment) connect() (*amqp.Connection, error) {
	for end := time.Now().Add(reconnectDeadline); ; time.Sleep(50 * time.Millisecond) {
		conn, err := amqp.Dial(p.url)
		if err == nil || time.Now().After(end) {
			return conn, err
		}
	}
}

// serve works until it is told to stop (no error) or the connection is lost.
func (p *payment) serve(stop context.Context, conn *amqp.Connection) error {
	channel, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := declare(channel); err != nil {
		return err
	}
	deliveries, err := channel.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		select {
		case <-stop.Done():
			return nil
		case delivery, open := <-deliveries:
			if !open {
				return amqp.ErrClosed
			}
			if err := p.charge(channel, delivery); err != nil {
				return err
			}
		}
	}
}

func declare(channel *amqp.Channel) error {
	if err := channel.ExchangeDeclare("orders", "topic", true, false, false, false, nil); err != nil {
		return err
	}
	if _, err := channel.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		return err
	}
	if err := channel.QueueBind(queue, "order.placed", "orders", false, nil); err != nil {
		return err
	}
	if err := channel.Qos(20, 0, false); err != nil {
		return err
	}
	return channel.Confirm(false)
}

func (p *payment) charge(channel *amqp.Channel, delivery amqp.Delivery) error {
	var placed struct {
		Order int `json:"order"`
	}
	if err := json.Unmarshal(delivery.Body, &placed); err != nil {
		return err
	}
	flag := 0
	if delivery.Redelivered {
		flag = 1
	}
	if err := p.note("placed %s %d %d\n", delivery.MessageId, placed.Order, flag); err != nil {
		return err
	}
	p.paid++
	id := fmt.Sprintf("paid-%d-%d-%d", placed.Order, os.Getpid(), p.paid)
	if err := p.publishPaid(channel, id, placed.Order); err != nil {
		return err
	}
	if err := p.note("confirmed %s %d 0\n", id, placed.Order); err != nil {
		return err
	}
	return delivery.Ack(false)
}

func (p *payment) publishPaid(channel *amqp.Channel, id string, order int) error {
	ctx, cancel := context.WithTimeout(context.Background(), confirmDeadline)
	defer cancel()
	confirm, err := channel.PublishWithDeferredConfirmWithContext(ctx, "orders", "order.paid", true, false, amqp.Publishing{
		ContentType:  "application/json",
		DeliveryMode: amqp.Persistent,
		MessageId:    id,
		Body:         []byte(fmt.Sprintf(`{"order": %d}`, order)),
	})
	if err != nil {
		return err
	}
	acked, err := confirm.WaitContext(ctx)
	if err == nil && !acked {
		err = fmt.Errorf("%s was not confirmed", id)
	}
	return err
}

func (p *payment) note(format string, values ...any) error {
	_, err := fmt.Fprintf(p.book, format, values...)
	return err
}
