// Command chain is the bare chain: what Taskgate is measured against. It has no feature.
//
//	chain gateway      POST → confirmed publish to a quorum queue; long-poll for the result
//	chain dispatcher   consume → POST to the handler → Redis SET + PUBLISH → ack
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskgate/taskgate/bench/internal/deliver"
	"github.com/taskgate/taskgate/bench/internal/intake"
)

const (
	queue = "chain"
	// publishers is how many channels publish side by side: each takes a lock for a confirm.
	publishers = 4
	// workers call the handler at once; twice as many deliveries are on their way to them.
	workers  = 64
	prefetch = 2 * workers
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "chain:", err)
		os.Exit(1) //nolint:gocritic // the signals' end is the process's
	}
}

func run(ctx context.Context) error {
	results, err := intake.OpenRedis(os.Getenv("BENCH_REDIS_URL"))
	if err != nil {
		return err
	}
	conn, err := amqp.Dial(os.Getenv("BENCH_AMQP_URL"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if len(os.Args) == 2 && os.Args[1] == "gateway" {
		return gateway(ctx, conn, results)
	}
	return dispatcher(ctx, conn, results)
}

func open(conn *amqp.Connection) (*amqp.Channel, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	_, err = ch.QueueDeclare(queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	return ch, err
}

// publisher publishes with confirms, any number in flight.
type publisher struct {
	*intake.Redis

	channels [publishers]*amqp.Channel
	next     atomic.Uint64
}

var errRefused = errors.New("the broker refused the message")

// Enqueue implements [intake.Queue].
func (p *publisher) Enqueue(ctx context.Context, id string, payload []byte) (string, error) {
	ch := p.channels[p.next.Add(1)%publishers]
	confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", queue, false, false, amqp.Publishing{
		MessageId: id, ContentType: "application/json", DeliveryMode: amqp.Persistent, Body: payload,
	})
	if err != nil {
		return "", err
	}
	stored, err := confirm.WaitContext(ctx)
	if err == nil && !stored {
		err = errRefused
	}
	return id, err
}

func gateway(ctx context.Context, conn *amqp.Connection, results *intake.Redis) error {
	p := &publisher{Redis: results}
	for i := range p.channels {
		ch, err := open(conn)
		if err != nil {
			return err
		}
		if err := ch.Confirm(false); err != nil {
			return err
		}
		p.channels[i] = ch
	}
	waiters := intake.NewWaiters(false)
	if err := results.Listen(ctx, waiters); err != nil {
		return err
	}
	return intake.Serve(ctx, p, waiters)
}

func dispatcher(ctx context.Context, conn *amqp.Connection, results *intake.Redis) error {
	ch, err := open(conn)
	if err != nil {
		return err
	}
	if err := ch.Qos(prefetch, 0, false); err != nil {
		return err
	}
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	poster := deliver.New(os.Getenv("BENCH_HANDLER_URL"))
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for d := range deliveries {
				work(ctx, poster, results, &d)
			}
		})
	}
	fmt.Println("ready")
	<-ctx.Done()
	_ = conn.Close()
	wg.Wait()
	return nil
}

// work takes a delivery to its end: the message is acknowledged once its result is stored.
func work(ctx context.Context, poster *deliver.Poster, results *intake.Redis, d *amqp.Delivery) {
	answer, err := poster.Post(ctx, d.MessageId, d.Body)
	if err == nil {
		err = results.Store(ctx, d.MessageId, answer)
	}
	if err != nil {
		_ = d.Nack(false, true)
		return
	}
	_ = d.Ack(false)
}
