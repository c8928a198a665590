package e2e_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/contracttest"
)

// Every exchange of every case is held against openapi.yaml.

var (
	plain = &http.Transport{MaxIdleConnsPerHost: 256, Proxy: nil}
	// breaches counts those of cases that are not known; see TestMain.
	breaches atomic.Int64
)

// http is a client whose exchanges fail the target's case when they break the
// contract, and the whole run when the target does not know its case.
func (tg *target) http() *http.Client {
	c, err := contracttest.Shared()
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
	c, err := contracttest.Shared()
	if err == nil {
		err = c.Callback("taskEnded", d.header, d.body)
	}
	if err != nil {
		t.Errorf("%v: %s", err, d.body)
	}
}

// The contract is open to everyone, in its three forms.
func TestContractIsServed(t *testing.T) {
	t.Parallel()
	written, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	targets(t, func(t *testing.T, tg *target) {
		nobody := *tg
		nobody.key = ""
		if yaml := got(nobody.expect(t, 200).GetContractYamlWithResponse(t.Context())); tg.name != "url" && !bytes.Equal(yaml.Body, written) {
			t.Errorf("the contract served is another one, of %d bytes", len(yaml.Body))
		}
		if doc := *got(nobody.expect(t, 200).GetContractJsonWithResponse(t.Context())).JSON200; doc["openapi"] != "3.0.3" {
			t.Errorf("as JSON it is of version %v", doc["openapi"])
		}
		page := got(nobody.expect(t, 200).GetDocsWithResponse(t.Context()))
		if !bytes.Contains(page.Body, []byte("<redoc ")) || page.HTTPResponse.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("the page: %v %s", page.HTTPResponse.Header, page.Body)
		}
	})
}
