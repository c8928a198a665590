package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/contracttest"
)

// Every exchange of every case is held against openapi.yaml.

var (
	plain   = &http.Transport{MaxIdleConnsPerHost: 256, Proxy: nil}
	checker = sync.OnceValues(contracttest.New)
	// breaches counts those of cases that are not known; see TestMain.
	breaches atomic.Int64
)

// http is a client whose exchanges fail the target's case when they break the
// contract, and the whole run when the target does not know its case.
func (tg *target) http() *http.Client {
	c, err := checker()
	if err != nil {
		panic(err)
	}
	return &http.Client{Timeout: 90 * time.Second, Transport: c.Transport(plain, func(_ *http.Request, err error) {
		if tg.t != nil {
			tg.t.Error(err)
			return
		}
		breaches.Add(1)
		fmt.Fprintln(os.Stderr, "FAIL:", err)
	})}
}

// of gives a target the case that its breaches of the contract fail.
func (tg *target) of(t *testing.T) *target {
	own := *tg
	own.t = t
	return &own
}

// checkCallback holds what a receiver got against the contract.
func checkCallback(t *testing.T, d delivery) {
	t.Helper()
	c, err := checker()
	if err == nil {
		err = c.Callback("taskEnded", d.header, d.body)
	}
	if err != nil {
		t.Errorf("%v: %s", err, d.body)
	}
}
