package rabbit

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/task"
)

// BenchmarkPublish measures confirmed publishes of 1 kB: what group commit
// makes of more callers.
func BenchmarkPublish(b *testing.B) {
	for _, callers := range []int{1, 64, 512} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			d, ep := benchDriver(b)
			body := make([]byte, 1024)
			b.ResetTimer()
			each(b, callers, func(i int) error {
				return d.Publish(b.Context(), broker.Wire{ID: strconv.Itoa(i), Endpoint: ep, Body: body})
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// BenchmarkThrough measures a message's whole way: publish, confirm, delivery,
// acknowledgement.
func BenchmarkThrough(b *testing.B) {
	d, ep := benchDriver(b)
	body := make([]byte, 1024)
	done := make(chan struct{})
	var acked atomic.Int64
	_, err := d.Consume(b.Context(), ep, 256, func(x broker.Delivery) {
		if err := x.Ack(b.Context()); err != nil {
			b.Error(err)
		}
		if acked.Add(1) == int64(b.N) {
			close(done)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	each(b, 64, func(i int) error {
		return d.Publish(b.Context(), broker.Wire{ID: strconv.Itoa(i), Endpoint: ep, Body: body})
	})
	<-done
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func each(b *testing.B, callers int, do func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= b.N; i = int(next.Add(1)) {
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func benchDriver(b *testing.B) (*Driver, task.EndpointID) {
	b.Helper()
	d := newStore(b).open(b)
	ep := task.MakeEndpointID(b.Name(), "ep")
	if err := d.Declare(b.Context(), ep); err != nil {
		b.Fatal(err)
	}
	return d, ep
}
