package redis_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/taskgate/taskgate/internal/redisdb"
	"github.com/taskgate/taskgate/internal/redisdb/redisdbtest"
	"github.com/taskgate/taskgate/internal/results/redis"
	"github.com/taskgate/taskgate/internal/results/resultstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) resultstest.Harness {
	t.Helper()
	ns := redisdbtest.Namespace(t)
	driver := func() *redis.Driver {
		d := redis.New(redisdbtest.Open(t, redisdb.Options{}), ns)
		t.Cleanup(func() { _ = d.Close() }) // never fails
		return d
	}
	return resultstest.Harness{Driver: driver(), Peer: driver()}
}

func TestConformance(t *testing.T) { resultstest.Run(t, open) }
