package app_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/app"
	"github.com/taskgate/taskgate/internal/config"
)

// authority signs certificates of the tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	a.pool.AddCert(a.cert)
	return a
}

// issue makes a certificate for 127.0.0.1 and its key, as PEM.
func (a *authority) issue(t *testing.T, serial int64) (cert, key []byte) {
	t.Helper()
	own, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	form := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprintf("api %d", serial)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Duration(serial) * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, form, a.cert, own.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// secured is taskgate dev with a certificate.
type secured struct {
	*authority

	cert, key   string // files
	base, admin string
	stdout, log *output
	signals     chan os.Signal
	code        chan int
	tls         *tls.Config
}

func runSecured(t *testing.T, more ...string) *secured {
	t.Helper()
	dir := t.TempDir()
	s := &secured{authority: newAuthority(t), cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	s.tls = &tls.Config{RootCAs: s.pool}
	s.put(t, 1)
	env := append(environ(filepath.Join(dir, "data"), "TASKGATE_TLS_CERT_FILE="+s.cert, "TASKGATE_TLS_KEY_FILE="+s.key), more...)
	s.stdout, s.log, s.signals, s.code = run(t, env)
	var ready struct{ API, Admin string }
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, `"msg":"ready"`) {
			if err := json.Unmarshal([]byte(line), &ready); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.base, s.admin = "https://"+ready.API, "http://"+ready.Admin
	t.Cleanup(func() {
		s.signals <- syscall.SIGTERM
		if c := ends(t, s.code); c != 0 {
			t.Errorf("exit code %d", c)
		}
	})
	return s
}

func (s *secured) put(t *testing.T, serial int64) {
	t.Helper()
	cert, key := s.issue(t, serial)
	write(t, s.cert, cert)
	write(t, s.key, key)
}

func (s *secured) client() *http.Client {
	return &http.Client{Timeout: limit, Transport: &http.Transport{TLSClientConfig: s.tls.Clone(), ForceAttemptHTTP2: true}}
}

// told is an answer that was read.
type told struct {
	status, protocol int
	header           http.Header
	text             string
}

func (s *secured) do(t *testing.T, c *http.Client, method, path, body string) told {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return told{resp.StatusCode, resp.ProtoMajor, resp.Header, string(text)}
}

// serial is that of the certificate that a new connection sees; 0: there is
// none to see.
func (s *secured) serial(t *testing.T) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.base, "https://"), s.tls.Clone())
	if err != nil {
		t.Log(err)
		return 0
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func (s *secured) metric(t *testing.T, name string) string {
	t.Helper()
	_, text := call(t, "GET", s.admin+"/metrics", "", "", nil)
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(text)
	if found == nil {
		return ""
	}
	return found[1]
}

// TestTLS: the API speaks HTTPS, HTTP/2 too, in long-polls as well.
func TestTLS(t *testing.T) {
	t.Parallel()
	s := runSecured(t)
	c := s.client()
	defer c.CloseIdleConnections()
	a := s.do(t, c, "PUT", "/v1/endpoints/e", `{"url":"http://127.0.0.1:1/"}`)
	if a.status != http.StatusCreated || a.protocol != 2 {
		t.Fatalf("%+v", a)
	}
	if h := a.header.Get("Strict-Transport-Security"); h != "" {
		t.Errorf("a developer's browser is told %q of localhost", h)
	}
	s.stdout.wait(t, "TG="+s.base)
	// Many long-polls on one connection, and what ends them.
	var made struct{ ID string }
	a = s.do(t, c, "POST", "/v1/tasks", `{"endpoint":"e","delay":"1h"}`)
	if err := json.Unmarshal([]byte(a.text), &made); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			a := s.do(t, c, "GET", "/v1/tasks/"+made.ID+"?wait=60s", "")
			if a.protocol != 2 || !strings.Contains(a.text, `"state":"cancelled"`) {
				t.Errorf("%+v", a)
			}
		})
	}
	for deadline := time.Now().Add(limit); s.metric(t, "taskgate_long_polls_waiting") != "50"; {
		if time.Now().After(deadline) {
			t.Fatal("the long-polls do not wait together")
		}
	}
	s.do(t, c, "POST", "/v1/tasks/"+made.ID+"/cancel", "")
	wg.Wait()

	// Nothing older than TLS 1.2, and no HTTP without it.
	old := s.tls.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if conn, err := tls.Dial("tcp", strings.TrimPrefix(s.base, "https://"), old); err == nil {
		conn.Close()
		t.Error("TLS 1.1 is spoken")
	}
	if status := get(t, strings.Replace(s.base, "https", "http", 1)+"/livez"); status != 400 {
		t.Errorf("HTTP is answered with %d", status)
	}
}

// TestCertificateIsReadAgain: a new pair is taken when its files change, and
// at a signal; a broken one changes nothing, but is told of.
func TestCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	s := runSecured(t)
	const end, reads = "taskgate_tls_certificate_expiry_timestamp_seconds", "taskgate_tls_certificate_reads_total"
	if got := s.serial(t); got != 1 {
		t.Fatalf("certificate %d", got)
	}
	before := s.metric(t, end)
	s.put(t, 2)
	s.log.wait(t, `api 2`)
	if got := s.serial(t); got != 2 {
		t.Errorf("certificate %d", got)
	}
	if after := s.metric(t, end); after == before || s.metric(t, reads+`{outcome="taken"}`) != "1" {
		t.Errorf("metrics: until %s, then %s", before, after)
	}

	cert, key := s.issue(t, 3)
	write(t, s.cert, cert) // without its key
	s.log.wait(t, "the old one stays in use")
	if got := s.serial(t); got != 2 {
		t.Errorf("certificate %d", got)
	}
	if strings.Contains(s.log.String(), "PRIVATE KEY") || s.metric(t, reads+`{outcome="refused"}`) != "1" {
		t.Errorf("log: %s", s.log)
	}
	write(t, s.key, key)
	s.signals <- syscall.SIGHUP
	s.log.wait(t, `api 3`)
	if got := s.serial(t); got != 3 {
		t.Errorf("certificate %d", got)
	}
}

// TestClientCertificates: with an authority for callers, whoever has no
// certificate of it says nothing at all.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	clients := newAuthority(t)
	file := filepath.Join(t.TempDir(), "clients.pem")
	write(t, file, clients.pem)
	s := runSecured(t, "TASKGATE_TLS_CLIENT_CA_FILE="+file)
	for name, issuer := range map[string]*authority{"none": nil, "a stranger's": s.authority, "good": clients} {
		c := s.client()
		if issuer != nil {
			pair, err := tls.X509KeyPair(issuer.issue(t, 7))
			if err != nil {
				t.Fatal(err)
			}
			// Sent whether or not the server would have it.
			c.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+"/v1/endpoints", nil)
		resp, err := c.Do(r)
		if err == nil {
			resp.Body.Close()
		}
		if good := err == nil && resp.StatusCode == http.StatusOK; good != (issuer == clients) {
			t.Errorf("%s: %v", name, err)
		}
		c.CloseIdleConnections()
	}
}

// TestBadCertificate: it is a wrong setting, named, before anything is opened.
func TestBadCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := newAuthority(t)
	cert, key := a.issue(t, 1)
	_, other := a.issue(t, 2)
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		write(t, path, content)
		return path
	}
	good, match, mismatch, junk := file("cert", cert), file("key", key), file("other", other), file("junk", []byte("poison"))
	for name, c := range map[string]struct{ cert, key, clients, want string }{
		"no file":      {dir + "/none", match, "", "TASKGATE_TLS_CERT_FILE"},
		"no key":       {good, "", "", "TASKGATE_TLS_KEY_FILE"},
		"another key":  {good, mismatch, "", "TASKGATE_TLS_KEY_FILE"},
		"no PEM":       {junk, match, "", "TASKGATE_TLS_CERT_FILE"},
		"no authority": {good, match, junk, "TASKGATE_TLS_CLIENT_CA_FILE"},
	} {
		var stderr bytes.Buffer
		data := filepath.Join(dir, "data")
		code := app.Main(config.Dev, app.Process{Stdout: io.Discard, Stderr: &stderr, Environ: environ(data,
			"TASKGATE_TLS_CERT_FILE="+c.cert, "TASKGATE_TLS_KEY_FILE="+c.key, "TASKGATE_TLS_CLIENT_CA_FILE="+c.clients)})
		if code != 2 || !strings.Contains(stderr.String(), c.want) || strings.Contains(stderr.String(), "poison") {
			t.Errorf("%s: code %d: %s", name, code, &stderr)
		}
		if _, err := os.Stat(data); !os.IsNotExist(err) {
			t.Errorf("%s: the data folder was made", name)
		}
	}
}
