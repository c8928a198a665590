package sqlitedb_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/taskgate/taskgate/internal/sqlitedb"
)

// BenchmarkAccept stores messages of 1 kB; one operation is one durable accept.
func BenchmarkAccept(b *testing.B) {
	for _, callers := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { benchAccept(b, callers) })
	}
}

func benchAccept(b *testing.B, callers int) {
	b.Helper()
	db := open(b, b.TempDir())
	body := []byte(strings.Repeat("x", 1024))
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				err := db.Write(bg, sqlitedb.Durable, func(tx *sqlitedb.Tx) error {
					_, err := tx.Insert(`INSERT INTO messages (queue, due, eta, endpoint, system, task, meta, body)
						VALUES ('0123456789abcdef0123', 1, 0, '0123456789abcdef0123', '', '01jdexampleexampleexample00', '', ?)`, body)
					return err
				})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	s := db.Stats()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "accepts/s")
	b.ReportMetric(float64(s.Syncs)/float64(b.N), "syncs/accept")
}
