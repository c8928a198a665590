package dispatch

import (
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/taskgate/taskgate/internal/task"
)

// Whatever an answer asks for, on HTTP/1.1 and HTTP/2, nobody else is called
// and nothing is remembered: no other host, no other protocol, no cookie.
func TestAnswersOpenNoOtherWay(t *testing.T) {
	port, reached := inside(t)
	at := "127.0.0.1:" + port
	both(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "" || r.Header.Get("Referer") != "" {
			t.Errorf("something was remembered: %v", r.Header)
		}
		h := w.Header()
		h.Set("Alt-Svc", `h2="`+at+`"; ma=86400, h3="`+at+`"; persist=1`)
		h.Set("Refresh", "0; url=http://"+at+"/")
		h.Set("Link", "<http://"+at+"/>; rel=preload, <http://"+at+"/>; rel=preconnect")
		h.Set("Location", "http://"+at+"/")
		h.Set("Content-Location", "http://"+at+"/")
		h.Set("Set-Cookie", "a=b; Path=/; Max-Age=86400")
		h.Set("Strict-Transport-Security", "max-age=86400")
		h.Set("WWW-Authenticate", `Negotiate realm="http://`+at+`/"`)
		h.Set("Proxy-Authenticate", "Basic")
		h.Set("Retry-After", "0")
		w.WriteHeader(map[string]int{"/ok": 200, "/moved": 308, "/proxy": 305, "/choose": 300, "/auth": 401, "/via": 407, "/other": 421, "/busy": 503}[r.URL.Path])
	}, func(t *testing.T, s *Sender, base string) {
		t.Helper()
		for range 2 { // the second time with what the first may have left
			for path, status := range map[string]int{"/ok": 200, "/moved": 308, "/proxy": 305, "/choose": 300, "/auth": 401, "/via": 407, "/other": 421, "/busy": 503} {
				if a := s.Send(t.Context(), request(base+path, "x")); a.Status != status {
					t.Errorf("%s: %+v", path, a)
				}
			}
		}
	})
	if n := reached.Load(); n > 0 {
		t.Errorf("somebody else was called %d times", n)
	}
}

// An answer that is small on the wire and large when it is understood, or that
// does not end where it should, costs what was allowed for it.
func TestAnswersThatGrow(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = io.CopyN(z, zeros{}, 256<<20)
	_ = z.Close()
	both(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		case "/header":
			for i := range 200 {
				w.Header()["X-"+strings.Repeat("a", i+1)] = []string{strings.Repeat("v", 4096)}
			}
		case "/trailer":
			_, _ = io.WriteString(w, "ok")
			for i := range 200 {
				w.Header()[http.TrailerPrefix+"X-"+strings.Repeat("a", i+1)] = []string{strings.Repeat("v", 4096)}
			}
		case "/endless":
			for range 4096 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}
	}, func(t *testing.T, s *Sender, base string) {
		t.Helper()
		if a := s.Send(t.Context(), request(base+"/gzip", "x")); a.Status != 200 || !bytes.Equal(a.Body, bomb.Bytes()) || a.State != BodyWhole {
			t.Errorf("compressed: %d, %d bytes, %v", a.Status, len(a.Body), a.State)
		}
		if a := s.Send(t.Context(), request(base+"/header", "x")); a.Status != 0 || a.Reason != task.ReasonProtocol {
			t.Errorf("header: %d %s", a.Status, a.Reason)
		}
		if a := s.Send(t.Context(), request(base+"/endless", "x")); a.State != BodyTooLarge || len(a.Body) > task.DefaultResultBytes {
			t.Errorf("endless: %v, %d bytes", a.State, len(a.Body))
		}
		var from, to runtime.MemStats
		runtime.ReadMemStats(&from)
		a := s.Send(t.Context(), request(base+"/trailer", "x"))
		runtime.ReadMemStats(&to)
		// HTTP/1.1 breaks off there, HTTP/2 has it in a bounded header list.
		if ok := a.Status == 200 && (a.State == BodyWhole && string(a.Body) == "ok" || a.State == BodyBroken && a.Reason == task.ReasonProtocol); !ok {
			t.Errorf("trailer: %+v", a)
		}
		if n := to.TotalAlloc - from.TotalAlloc; n > 32<<20 {
			t.Errorf("trailer: %d MiB", n>>20)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// both runs a case against a server of HTTP/1.1 and one of HTTP/2.
func both(t *testing.T, h http.HandlerFunc, run func(t *testing.T, s *Sender, base string)) {
	t.Helper()
	t.Run("HTTP/1.1", func(t *testing.T) { run(t, newSender(t, loopback(), ""), server(t, h).URL) })
	t.Run("HTTP/2", func(t *testing.T) {
		s, base := secure(t, h)
		run(t, s, base("example.com"))
	})
}

// secure is a server of HTTP/2, a sender that trusts it, and its URL by name.
func secure(t *testing.T, h http.HandlerFunc) (*Sender, func(name string) string) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	opt := loopback()
	local := netip.MustParseAddr("127.0.0.1")
	opt.Resolve = map[string]netip.Addr{"example.com": local, "www.example.com": local}
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	return newSender(t, opt, ca), func(name string) string { return "https://" + name + ":" + port }
}

// A connection is its host's alone. HTTP/2 lets a client send requests for
// another host of the certificate over it (RFC 9113, section 9.1.1); then the
// guard would not be asked about that one's address.
func TestConnectionsAreNotSharedByHosts(t *testing.T) {
	var mu sync.Mutex
	peers := map[string]string{} // host by the connection's other end
	s, base := secure(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		host, _, _ := net.SplitHostPort(r.Host)
		if other, ok := peers[r.RemoteAddr]; ok && other != host {
			t.Errorf("one connection is for %s and %s", other, host)
		}
		peers[r.RemoteAddr] = host
	})
	for range 3 {
		for _, name := range []string{"example.com", "www.example.com"} {
			if a := s.Send(t.Context(), request(base(name), "x")); a.Status != 200 && a.Reason != task.ReasonTLS {
				t.Errorf("%s: %+v", name, a)
			}
		}
	}
	if mu.Lock(); len(peers) == 0 {
		t.Error("nobody called")
	}
	mu.Unlock()
}
