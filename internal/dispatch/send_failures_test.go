package dispatch

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

func TestSendFailures(t *testing.T) {
	closedAddr := func() string {
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		return "http://" + ln.Addr().String()
	}()
	hijack := func(answer string) string {
		return raw(t, func(c net.Conn) {
			if readRequest(c) {
				_, _ = c.Write([]byte(answer))
			}
		})
	}
	cases := []struct {
		name    string
		url     string
		timeout time.Duration
		status  int
		state   BodyState
		reason  task.Reason
		sent    bool
	}{
		{name: "hangs", url: server(t, func(_ http.ResponseWriter, r *http.Request) {
			gone(r)
		}).URL, timeout: short, reason: task.ReasonTimeout, sent: true},
		{name: "slow body", url: server(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			gone(r)
		}).URL, timeout: short, status: 200, state: BodyBroken, reason: task.ReasonTimeout, sent: true},
		{name: "garbage", url: hijack("\x00\xffnonsense\r\n\r\n"), reason: task.ReasonProtocol, sent: true},
		{name: "closes without an answer", url: hijack(""), reason: task.ReasonProtocol, sent: true},
		{name: "closes in the header", url: hijack("HTTP/1.1 200 OK\r\nX-A"), reason: task.ReasonProtocol, sent: true},
		{name: "closes in the body", url: hijack("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), status: 200, state: BodyBroken, reason: task.ReasonProtocol, sent: true},
		{name: "closes in a chunk", url: hijack("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"), status: 200, state: BodyBroken, reason: task.ReasonProtocol, sent: true},
		{name: "contradictory length", url: hijack("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), reason: task.ReasonProtocol, sent: true},
		{name: "huge header", url: server(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Huge", strings.Repeat("x", 1<<20))
		}).URL, reason: task.ReasonProtocol, sent: true},
		{name: "endless 1xx", url: hijack(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 5000)), reason: task.ReasonProtocol, sent: true},
		{name: "switches protocols", url: hijack("HTTP/1.1 101 Switching Protocols\r\n\r\n"), status: 101, sent: true},
		{name: "redirect", url: server(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		}).URL, status: 302, sent: true},
		{name: "redirect to nonsense", url: hijack("HTTP/1.1 302 Found\r\nLocation: http://[::bad\r\nContent-Length: 0\r\n\r\n"), status: 302, sent: true},
		{name: "nobody listens", url: closedAddr, reason: task.ReasonConnect},
		{name: "no such name", url: "http://nobody.invalid/", reason: task.ReasonDNS},
		{name: "blocked", url: "http://10.0.0.1/", reason: task.ReasonBlockedAddress},
		{name: "blocked name", url: "http://inside.example/", reason: task.ReasonBlockedAddress},
		{name: "metadata", url: "http://169.254.169.254/", reason: task.ReasonBlockedAddress},
		{name: "not a URL", url: "http://a b/", reason: task.ReasonInternal},
	}
	opt := loopback()
	opt.Resolve = map[string]netip.Addr{"inside.example": netip.MustParseAddr("192.168.7.7")}
	s := newSender(t, opt, "")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			req := request(c.url+"?secret=s3cr3t", "payload")
			if c.timeout > 0 {
				req.Timeout = c.timeout
			}
			a := s.Send(t.Context(), req)
			if a.Status != c.status || a.State != c.state || a.Reason != c.reason || a.Sent != c.sent {
				t.Errorf("%+v", a)
			}
			if a.Err != nil && strings.Contains(a.Err.Error(), "s3cr3t") {
				t.Errorf("the error shows the query: %v", a.Err)
			}
		})
	}
}

func TestSendTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11} // too old
	old.StartTLS()
	t.Cleanup(old.Close)
	plain := server(t, func(http.ResponseWriter, *http.Request) {})

	opt := loopback()
	opt.Resolve = map[string]netip.Addr{"other.test": netip.MustParseAddr("127.0.0.1"), "example.com": netip.MustParseAddr("127.0.0.1")}
	trusting, strict := newSender(t, opt, ca), newSender(t, opt, "")
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	if a := trusting.Send(t.Context(), request("https://example.com:"+port, "x")); a.Status != 200 || string(a.Body) != "HTTP/2.0" {
		t.Errorf("extra CA: %+v", a)
	}
	for name, c := range map[string]struct {
		s   *Sender
		url string
	}{
		"unknown authority":  {strict, srv.URL},
		"other name":         {trusting, "https://other.test:" + port},
		"too old":            {trusting, old.URL},
		"no TLS on the port": {trusting, strings.Replace(plain.URL, "http:", "https:", 1)},
		"no TLS spoken":      {trusting, strings.Replace(raw(t, func(c net.Conn) { _, _ = c.Write([]byte("hello hello\n")) }), "http:", "https:", 1)},
	} {
		if a := c.s.Send(t.Context(), request(c.url, "x")); a.Reason != task.ReasonTLS || a.Sent || a.Status != 0 {
			t.Errorf("%s: %+v", name, a)
		}
	}
	for _, file := range []string{filepath.Join(t.TempDir(), "none"), os.Args[0]} {
		if _, err := NewSender(SenderOptions{Guard: NewGuard(opt), CAFile: file}); err == nil {
			t.Error("a CA file that is none")
		}
	}
}
