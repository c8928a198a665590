package cli_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/internal/cli"
)

// A server with a certificate of its own authority is trusted when that is
// named, by flag or environment, and not otherwise.
func TestCAFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	api, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(api)
	proxy.Transport = &http.Transport{DisableKeepAlives: true}
	front := httptest.NewTLSServer(proxy)
	defer front.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		environ []string
		args    []string
		code    int
		stderr  string
	}{
		"flag":           {nil, []string{"--ca-file", file}, 0, ""},
		"environment":    {[]string{"TASKGATE_CA_FILE=" + file}, nil, 0, ""},
		"not trusted":    {nil, []string{"--retry-for", "0s"}, 3, "certificate"},
		"no such file":   {nil, []string{"--ca-file", "/nowhere"}, 2, "/nowhere"},
		"no certificate": {nil, []string{"--ca-file", os.DevNull}, 2, "no certificate"},
	} {
		r := w.with(cli.Process{Environ: append(c.environ, "TASKGATE_URL="+front.URL)}, append([]string{"endpoints", "list"}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.stderr, c.stderr) {
			t.Errorf("%s: code %d, %s", name, r.code, r.stderr)
		}
	}
}
