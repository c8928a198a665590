package dispatch

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/signing"
	"github.com/taskgate/taskgate/internal/task"
)

// BenchmarkHandle takes deliveries through an attempt, with a real request on
// loopback and nothing that observes or follows it.
func BenchmarkHandle(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	sender, err := NewSender(SenderOptions{Guard: NewGuard(loopback())})
	if err != nil {
		b.Fatal(err)
	}
	defer sender.Close()
	r := newRig(nil)
	r.h.sender, r.h.log = sender, slog.New(slog.DiscardHandler)
	secret := signing.Generate()
	r.h.secrets = func(*task.Endpoint) ([]signing.Secret, error) { return []signing.Secret{secret}, nil }
	r.ep.URL, r.ep.Timeout = srv.URL, task.Duration(time.Minute)
	b.ReportAllocs()
	for n := range b.N {
		d := deliveryOf(message(n, "orders"))
		r.h.Handle(b.Context(), b.Context(), Job{Delivery: d, Endpoint: &r.ep})
	}
}
