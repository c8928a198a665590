package e2e_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A program in TypeScript, on a client generated from the contract, is
// type-checked and does a user's whole round against the target.
func TestTypeScriptClient(t *testing.T) {
	t.Parallel()
	needNodeTools(t)
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

// nodeTools is the folder that scripts/node-tools prints.
func nodeTools() string {
	if dir := os.Getenv("TASKGATE_NODE_TOOLS"); dir != "" {
		return dir
	}
	lock, _ := os.ReadFile("../scripts/node/package-lock.json")
	sum := sha256.Sum256(lock)
	dir, _ := filepath.Abs("../.cache/node/" + hex.EncodeToString(sum[:8]))
	return dir
}

func needNodeTools(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(nodeTools() + "/installed"); err == nil {
		return
	}
	if os.Getenv("TASKGATE_REQUIRE_SERVICES") != "" {
		t.Fatal("no Node tools: scripts/node-tools installs them")
	}
	t.Skip("no Node tools: run scripts/node-tools")
}

// tsProgram compiles the program once for all targets.
var tsProgram = sync.OnceValues(func() (string, error) { return buildTS(nodeTools()) })

// buildTS generates the types and compiles the program, beside the modules
// that it imports. A type error fails it.
func buildTS(tools string) (string, error) {
	dir, err := os.MkdirTemp(tools, "e2e-")
	if err != nil {
		return "", err
	}
	atEnd(func() { _ = os.RemoveAll(dir) })
	for _, name := range []string{"main.ts", "tsconfig.json"} {
		text, err := os.ReadFile(filepath.Join("ts", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			return "", err
		}
	}
	bin := filepath.Join(tools, "node_modules", ".bin")
	contract, _ := filepath.Abs("../openapi.yaml")
	for _, args := range [][]string{
		{bin + "/openapi-typescript", contract, "-o", dir + "/schema.ts"},
		{bin + "/tsc", "-p", dir},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return filepath.Join(dir, "out", "main.js"), nil
}
