package sqlite_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/taskgate/taskgate/internal/broker"
)

// BenchmarkRoundTrip publishes 1 kB, delivers and acknowledges it.
func BenchmarkRoundTrip(b *testing.B) {
	for _, callers := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { benchRoundTrip(b, callers) })
	}
}

func benchRoundTrip(b *testing.B, callers int) {
	b.Helper()
	db := openDB(b, b.TempDir())
	d := openDriver(b, db)
	if err := d.Declare(bg, ep); err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Add(b.N)
	c, err := d.Consume(bg, ep, 256, func(dl broker.Delivery) {
		go func() {
			defer wg.Done()
			if err := dl.Ack(bg); err != nil {
				b.Error(err)
			}
		}()
	})
	if err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 1024)
	var left atomic.Int64
	left.Store(int64(b.N))
	syncs := db.Stats().Syncs
	b.ResetTimer()
	for range callers {
		go func() {
			for left.Add(-1) >= 0 {
				if err := d.Publish(bg, broker.Wire{ID: "t", Endpoint: ep, Meta: "meta", Body: body}); err != nil {
					b.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(db.Stats().Syncs-syncs)/float64(b.N), "syncs/message")
	if err := c.Stop(bg); err != nil {
		b.Error(err)
	}
}
