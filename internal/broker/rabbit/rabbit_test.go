package rabbit

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/broker/brokertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	brokerURL(t)
	brokertest.Run(t, func(t *testing.T, o brokertest.Options) brokertest.Harness {
		t.Helper()
		s := newStore(t)
		s.options.DeliveryLimit = o.DeliveryLimit
		return s
	})
}

// brokerURL is the broker for tests; without one the test is skipped, unless
// it must not be.
func brokerURL(tb testing.TB) string {
	tb.Helper()
	u := os.Getenv("TASKGATE_TEST_AMQP_URL")
	switch {
	case u != "":
		return u
	case os.Getenv("TASKGATE_REQUIRE_SERVICES") == "1":
		tb.Fatal("TASKGATE_TEST_AMQP_URL is not set")
	default:
		tb.Skip("TASKGATE_TEST_AMQP_URL is not set")
	}
	return ""
}

// store is a namespace of its own, removed at the test's end.
type store struct {
	options Options

	mu     sync.Mutex
	queues map[string]bool
}

func newStore(tb testing.TB) *store {
	tb.Helper()
	s := &store{queues: map[string]bool{}}
	s.options = Options{
		URLs:      []string{brokerURL(tb)},
		Namespace: "test-" + strings.ToLower(rand.Text()[:12]),
		Logger:    testLogger(tb),
		onDeclare: s.declared,
	}
	tb.Cleanup(func() { s.remove(tb) })
	return s
}

func (s *store) declared(queue string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues[queue] = true
}

func (s *store) remove(tb testing.TB) {
	tb.Helper()
	conn, err := amqp.Dial(s.options.URLs[0])
	if err != nil {
		tb.Errorf("cannot clean up: %v", err)
		return
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		tb.Errorf("cannot clean up: %v", err)
		return
	}
	n := newNames(s.options.Namespace)
	for _, x := range []string{n.tasks(), n.unroutable()} {
		if err := ch.ExchangeDelete(x, false, false); err != nil {
			tb.Errorf("cannot clean up: %v", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for q := range s.queues {
		if _, err := ch.QueueDelete(q, false, false, false); err != nil {
			tb.Errorf("cannot clean up: %v", err)
		}
	}
}

// Open implements [brokertest.Harness].
func (s *store) Open(t *testing.T) broker.Driver {
	t.Helper()
	return s.open(t)
}

func (s *store) open(tb testing.TB) *Driver {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	d, err := Open(ctx, s.options)
	if err != nil {
		tb.Fatalf("Open: %v", err)
	}
	tb.Cleanup(d.kill) // of tests that failed before they closed it
	return d
}

// Kill implements [brokertest.Harness].
func (s *store) Kill(_ *testing.T, d broker.Driver) { d.(*Driver).kill() }

// testLogger shows the driver's log when asked for.
func testLogger(tb testing.TB) *slog.Logger {
	tb.Helper()
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(tb.Output(), nil))
	}
	return slog.New(slog.DiscardHandler)
}
