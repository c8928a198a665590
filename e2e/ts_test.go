package e2e_test

import (
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/taskgate/taskgate/internal/nodetest"
)

// A program in TypeScript, on a client generated from the contract, is
// type-checked and does a user's whole round against the target.
func TestTypeScriptClient(t *testing.T) {
	t.Parallel()
	nodetest.Need(t)
	program, err := tsProgram()
	if err != nil {
		t.Fatal(err)
	}
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(500), body(200, "application/json", `{"echo":{"order":4711}}`))
		cmd := exec.CommandContext(t.Context(), "node", program)
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "TASKGATE_URL=" + tg.checked(t), "TASKGATE_KEY=" + tg.key,
			"HANDLER_URL=" + h.URL, "ENDPOINT=e" + namespace(),
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		if got := string(h.next(t).body); got != `{"order":4711}` {
			t.Errorf("delivered %s", got)
		}
	})
}

// checked is the address of a proxy to the target: exchanges of foreign
// clients are held against the contract, too.
func (tg *target) checked(t *testing.T) string {
	t.Helper()
	to, err := url.Parse(tg.base())
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: tg.http().Transport,
	})
	t.Cleanup(srv.Close)
	return srv.URL
}

// tsProgram compiles the program once for all targets.
var tsProgram = sync.OnceValues(func() (string, error) {
	text, err := os.ReadFile("ts/main.ts")
	if err != nil {
		return "", err
	}
	p, err := nodetest.NewProject(map[string]string{"main.ts": string(text)})
	if err != nil {
		return "", err
	}
	atEnd(func() { _ = os.RemoveAll(p.Dir) })
	if err := p.Generate("schema.ts"); err != nil {
		return "", err
	}
	return filepath.Join(p.Dir, "out", "main.js"), p.Compile()
})
