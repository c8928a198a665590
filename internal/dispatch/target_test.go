package dispatch

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// authSender opens every endpoint's secret as the one given.
func authSender(t *testing.T, secret task.TargetSecret) *Sender {
	t.Helper()
	s, err := NewSender(SenderOptions{
		Guard: NewGuard(loopback()), Version: "1",
		Open: func(*task.Endpoint) (task.TargetSecret, error) { return secret, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func authRequest(url string, a *task.TargetAuth) *Request {
	r := request(url, "{}")
	r.Endpoint.Auth = a
	r.Message.Headers = []task.Header{{Name: "Authorization", Value: "the task's own"}}
	return r
}

func TestTargetHeaders(t *testing.T) {
	srv := server(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("Authorization")) })
	for _, c := range []struct {
		auth   *task.TargetAuth
		secret task.TargetSecret
		want   string
	}{
		{nil, task.TargetSecret{}, "the task's own"},
		{&task.TargetAuth{Type: task.AuthNone}, task.TargetSecret{}, "the task's own"},
		{&task.TargetAuth{Type: task.AuthBasic, Username: "Aladdin"}, task.TargetSecret{Password: "open sesame"}, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
		{&task.TargetAuth{Type: task.AuthBearer}, task.TargetSecret{Token: "abc"}, "Bearer abc"},
	} {
		a := authSender(t, c.secret).Send(t.Context(), authRequest(srv.URL, c.auth))
		if a.Status != 200 || string(a.Body) != c.want {
			t.Errorf("%+v: %d %q", c.auth, a.Status, a.Body)
		}
	}
}

func TestTargetChanges(t *testing.T) {
	srv := server(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("Authorization")) })
	var opened atomic.Int64
	s, err := NewSender(SenderOptions{Guard: NewGuard(loopback()), Open: func(ep *task.Endpoint) (task.TargetSecret, error) {
		opened.Add(1)
		if len(ep.Auth.Sealed) == 0 {
			return task.TargetSecret{}, errors.New("cannot be opened")
		}
		return task.TargetSecret{Token: string(ep.Auth.Sealed)}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for _, token := range []string{"one", "one", "two", "one"} {
		a := s.Send(t.Context(), authRequest(srv.URL, &task.TargetAuth{Type: task.AuthBearer, Sealed: []byte(token)}))
		if string(a.Body) != "Bearer "+token {
			t.Errorf("%s: %q", token, a.Body)
		}
	}
	if opened.Load() != 3 {
		t.Errorf("opened %d times", opened.Load())
	}
	a := s.Send(t.Context(), authRequest(srv.URL, &task.TargetAuth{Type: task.AuthBearer}))
	if a.Status != 0 || a.Sent || a.Reason != task.ReasonInternal {
		t.Errorf("sent without its secret: %+v", a)
	}
	for i := range maxTargets + 10 {
		r := authRequest(srv.URL, &task.TargetAuth{Type: task.AuthBearer, Sealed: []byte("x")})
		r.Endpoint.Name = fmt.Sprint("e", i)
		if _, err := s.targets.of(r.Endpoint); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.targets.byID); n > maxTargets {
		t.Errorf("%d targets are held", n)
	}
}

// issuer gives out tokens and takes only the latest.
type issuer struct {
	mu     sync.Mutex
	asked  int
	valid  string
	life   int
	answer func(w http.ResponseWriter) // instead
	form   string
}

func (i *issuer) token(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	id, secret, _ := r.BasicAuth()
	_ = r.ParseForm()
	i.form = id + ":" + secret + " " + r.PostForm.Encode()
	i.asked++
	if i.answer != nil {
		w.Header().Set("Content-Type", "application/json")
		i.answer(w)
		return
	}
	i.valid = fmt.Sprint("token-", i.asked)
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer","expires_in":%d}`, i.valid, i.life)
}

func (i *issuer) guarded(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+i.valid {
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func (i *issuer) set(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

func TestOAuth2(t *testing.T) {
	i := &issuer{life: 3600}
	tokenURL := server(t, i.token).URL
	target := server(t, i.guarded).URL
	s := authSender(t, task.TargetSecret{ClientSecret: "s3cr3t"})
	auth := &task.TargetAuth{Type: task.AuthOAuth2, ClientID: "me", TokenURL: tokenURL, Scopes: []string{"a", "b"}, Audience: "them"}
	send := func(what string, status, asked int) *Answer {
		t.Helper()
		a := s.Send(t.Context(), authRequest(target, auth))
		i.mu.Lock()
		defer i.mu.Unlock()
		if a.Status != status || i.asked != asked {
			t.Errorf("%s: status %d (%s, %v), %d tokens", what, a.Status, a.Reason, a.Err, i.asked)
		}
		return a
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if a := s.Send(t.Context(), authRequest(target, auth)); a.Status != 200 {
				t.Errorf("at once: %d", a.Status)
			}
		})
	}
	all.Wait()
	send("shared", 200, 1)
	if i.form != "me:s3cr3t audience=them&grant_type=client_credentials&scope=a+b" {
		t.Errorf("asked with %q", i.form)
	}
	i.set(func() { i.valid = "revoked" })
	send("renewed once it is refused", 200, 2)
	i.set(func() {
		i.answer = func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, `{"access_token":"useless","token_type":"bearer"}`)
		}
	})
	i.set(func() { i.valid = "nobody's" })
	send("refused twice", 401, 3)
	for what, answer := range map[string]func(w http.ResponseWriter){
		"refuses":  func(w http.ResponseWriter) { http.Error(w, "s3cr3t is wrong", http.StatusUnauthorized) },
		"fails":    func(w http.ResponseWriter) { http.Error(w, "s3cr3t", http.StatusInternalServerError) },
		"nonsense": func(w http.ResponseWriter) { _, _ = io.WriteString(w, "s3cr3t") },
		"empty":    func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"s3cr3t":1}`) },
	} {
		i.set(func() { i.answer = answer })
		a := s.Send(t.Context(), authRequest(target, &task.TargetAuth{Type: task.AuthOAuth2, ClientID: what, TokenURL: tokenURL}))
		if a.Status != 0 || a.Sent || a.Reason != task.ReasonTargetAuth || strings.Contains(a.Err.Error(), "s3cr3t") {
			t.Errorf("%s: %+v", what, a)
		}
	}
}

func TestOAuth2IsGuardedAndBounded(t *testing.T) {
	target := server(t, func(http.ResponseWriter, *http.Request) { t.Error("called without a token") })
	s := authSender(t, task.TargetSecret{ClientSecret: "x"})
	hang := server(t, func(_ http.ResponseWriter, r *http.Request) { gone(r) })
	moved := server(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target.URL, http.StatusTemporaryRedirect)
	})
	for _, c := range []struct {
		url    string
		reason task.Reason
	}{
		{"http://10.0.0.1/token", task.ReasonBlockedAddress},
		{"http://169.254.169.254/token", task.ReasonBlockedAddress},
		{hang.URL, task.ReasonTimeout},
		{moved.URL, task.ReasonTargetAuth},
		{"http://nobody.invalid/", task.ReasonTargetAuth},
	} {
		r := authRequest(target.URL, &task.TargetAuth{Type: task.AuthOAuth2, ClientID: "me", TokenURL: c.url})
		r.Timeout = short
		if c.reason != task.ReasonTimeout {
			r.Timeout = long
		}
		if a := s.Send(t.Context(), r); a.Reason != c.reason || a.Sent && c.reason != task.ReasonTimeout {
			t.Errorf("%s: %s %v", c.url, a.Reason, a.Err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ErrCancelled)
	if a := s.Send(ctx, authRequest(target.URL, &task.TargetAuth{Type: task.AuthOAuth2, TokenURL: hang.URL})); a.Reason != task.ReasonCancelled {
		t.Errorf("cancelled: %s", a.Reason)
	}
}

func TestOAuth2TokenThatEndsIsReplacedBefore(t *testing.T) {
	i := &issuer{life: 10} // under the leeway
	tokenURL, target := server(t, i.token).URL, server(t, i.guarded).URL
	s := authSender(t, task.TargetSecret{})
	for n := range 3 {
		a := s.Send(t.Context(), authRequest(target, &task.TargetAuth{Type: task.AuthOAuth2, ClientID: "me", TokenURL: tokenURL}))
		if a.Status != 200 || i.asked != n+1 {
			t.Errorf("%d: status %d, %d tokens", n, a.Status, i.asked)
		}
	}
}

// newPair makes a certificate for a client or a server, signed by itself.
func newPair(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return text("CERTIFICATE", der), text("PRIVATE KEY", keyDER)
}

func TestMutualTLS(t *testing.T) {
	cert, key := newPair(t, "us")
	foreign, foreignKey := newPair(t, "somebody")
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM([]byte(cert))
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted, MinVersion: tls.VersionTLS12}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))

	for _, c := range []struct {
		name   string
		auth   task.TargetAuth
		key    string
		reason task.Reason
	}{
		{"ours", task.TargetAuth{Type: task.AuthMTLS, Certificate: cert, CA: ca}, key, ""},
		{"foreign", task.TargetAuth{Type: task.AuthMTLS, Certificate: foreign, CA: ca}, foreignKey, task.ReasonTLS},
		{"none", task.TargetAuth{Type: task.AuthNone, CA: ca}, "", task.ReasonTLS},
		{"server not trusted", task.TargetAuth{Type: task.AuthMTLS, Certificate: cert}, key, task.ReasonTLS},
		{"key of another", task.TargetAuth{Type: task.AuthMTLS, Certificate: cert, CA: ca}, foreignKey, task.ReasonInternal},
		{"no certificate", task.TargetAuth{Type: task.AuthMTLS, Certificate: cert, CA: "nonsense"}, key, task.ReasonInternal},
	} {
		a := authSender(t, task.TargetSecret{PrivateKey: c.key}).Send(t.Context(), authRequest(srv.URL, &c.auth))
		if a.Reason != c.reason || c.reason == "" && string(a.Body) != "us" {
			t.Errorf("%s: %s %q %v", c.name, a.Reason, a.Body, a.Err)
		}
	}
}

func TestTargetSecretNeverPrints(t *testing.T) {
	s := task.TargetSecret{Password: "hunter2"}
	if out := fmt.Sprintf("%v %+v %#v %s", s, s, s, s); strings.Contains(out, "hunter2") {
		t.Error(out)
	}
}
