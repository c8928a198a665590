package e2e_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/contracttest"
	"github.com/taskgate/taskgate/internal/telemetry/otlptest"
)

// leaks runs through the API with marked values and then searches everything
// that came out for them.
type leaks struct {
	*installation
	routes map[string]*regexp.Regexp // of every operation, by method and path
	done   map[string]bool

	mu sync.Mutex
	// secrets must come out nowhere but where they are made; contents (payloads,
	// results, headers, queries) are for the API's own good answers alone.
	secrets, contents map[string]string // what it is, by mark
	out               map[string]string // what came out, by where
	shown             map[string]string // good answers of the API
}

func newLeaks(t *testing.T, in *installation) *leaks {
	t.Helper()
	doc := must(contracttest.Document())
	l := &leaks{
		installation: in, routes: map[string]*regexp.Regexp{}, done: map[string]bool{}, secrets: map[string]string{},
		contents: map[string]string{}, out: map[string]string{}, shown: map[string]string{},
	}
	for path, item := range doc.Paths.Map() {
		re := regexp.MustCompile("^" + regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "[^/]+") + "$")
		for method := range item.Operations() {
			l.routes[method+" "+path] = re
		}
	}
	return l
}

// secret marks a value that must never be shown.
func (l *leaks) secret(what string) string { return l.mark(l.secrets, what) }

// content marks a value that only good answers of the API may show.
func (l *leaks) content(what string) string { return l.mark(l.contents, what) }

func (l *leaks) mark(of map[string]string, what string) string {
	m := "xMARKx" + randomHex(8)
	l.note(of, what, m)
	return m
}

func (l *leaks) note(of map[string]string, what string, marks ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range marks {
		of[m] = what
	}
}

// call makes a request. What is refused is something that came out.
func (l *leaks) call(t *testing.T, status int, method, path string, body any, header ...string) reply {
	t.Helper()
	r := l.do(t, method, path, body, header...)
	if status != 0 && r.status != status {
		t.Errorf("%s %s: status %d, want %d: %s", method, path, r.status, status, r.raw)
	}
	bare, _, _ := strings.Cut(path, "?")
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, re := range l.routes {
		if m, _, _ := strings.Cut(key, " "); m == method && re.MatchString(bare) && r.status < 400 {
			l.done[key] = true
		}
	}
	where := fmt.Sprintf("%s %s %d", method, bare, r.status)
	if r.status >= 400 {
		l.out["problem: "+where] += string(r.raw)
	} else {
		text := string(r.raw)
		if once.MatchString(where) {
			text = madeHere.ReplaceAllString(text, "")
		}
		l.shown["answer: "+where] += text
	}
	return r
}

// once are the requests whose answer shows, once, the secret that they set or
// made.
var (
	once     = regexp.MustCompile(`^(PUT /v1/(endpoints|projects)/\w+|POST /v1/keys|POST /v1/.*/?rotate(-secret)?) 20[01]$`)
	madeHere = regexp.MustCompile(`"(secret|key)":"[^"]*"`)
)

// reveal makes a request whose answer shows a secret once, and keeps it.
func (l *leaks) reveal(t *testing.T, status int, field, method, path string, body any) obj {
	t.Helper()
	r := l.call(t, status, method, path, body)
	value := r.obj.str(field)
	if value == "" {
		t.Fatalf("%s %s shows no %s: %s", method, path, field, r.raw)
	}
	l.note(l.secrets, field+" of "+method+" "+path, value)
	return r.obj
}

// clientPair is a certificate and its key, as PEM; a piece of the key is
// marked.
func (l *leaks) clientPair() (cert, key string) {
	pair := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, &pair.PublicKey, pair))
	pkcs := must(x509.MarshalPKCS8PrivateKey(pair))
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs}))
	l.note(l.secrets, "client's private key", strings.Split(key, "\n")[1])
	return cert, key
}

// signing is a signing secret of the caller's making.
func (l *leaks) signing(what string) string {
	s := base64.StdEncoding.EncodeToString([]byte("0123456789" + randomHex(10)))
	l.note(l.secrets, what, s)
	return "whsec_" + s
}

// garbled is a server that does not speak HTTP and shows a mark.
func garbled(t *testing.T, text string) string {
	t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(c).ReadString('\n')
			_, _ = io.WriteString(c, text+"\r\n\r\n")
			c.Close()
		}
	})
	t.Cleanup(func() {
		listener.Close()
		wg.Wait()
	})
	return "http://" + listener.Addr().String() + "/"
}

// No marked secret, payload, result, header or query comes out in a log, a
// metric, a trace or a refusal, whatever operation it went through.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	receiver := otlptest.New(t)
	collector := "xMARKx" + randomHex(8)
	env := with("TASKGATE_LOG_LEVEL=debug", "TASKGATE_ACCESS_LOG=true", "TASKGATE_OTLP_ENDPOINT="+receiver.URL,
		"TASKGATE_OTLP_HEADERS=X-Collector="+collector, "TASKGATE_OIDC_ISSUER=https://127.0.0.1:1", "TASKGATE_OIDC_AUDIENCE=taskgate")
	installations(t, env, func(t *testing.T, in *installation) {
		l := newLeaks(t, in)
		l.note(l.secrets, "bootstrap key", adminKey, strings.TrimPrefix(adminKey, "tg_"))
		l.note(l.secrets, "secret key", secretKey())
		l.note(l.secrets, "header for the receiver of traces", collector)
		l.service(t)
		l.keys(t)
		l.deliveries(t)
		l.endpoints(t)
		l.bulk(t)
		l.hostile(t)
		l.admin(t)
		l.spoken(t)
		for key := range l.routes {
			if !l.done[key] {
				t.Errorf("%s was never done: feed it marked values in this test", key)
			}
		}
		until(t, "spans were sent", func() bool { return in.value(t, "taskgate_trace_spans_total", `outcome="sent"`) > 0 })
		for _, p := range in.processes {
			for _, path := range []string{"/metrics", "/readyz?verbose"} {
				_, text := p.get(t, path)
				l.out[p.bin+path] = text
			}
		}
		in.stop()
		l.kept(t)
		l.out["logs"], l.out["traces"] = strings.Join(in.lines(), "\n"), receiver.Raw()
		l.search(t)
	})
}

func (l *leaks) service(t *testing.T) {
	t.Helper()
	for _, path := range []string{"/livez", "/readyz?verbose", "/openapi.yaml", "/openapi.json", "/docs"} {
		l.call(t, 200, "GET", path, nil)
	}
	// These are our own words.
	for where := range l.shown {
		if strings.Contains(where, "/openapi") || strings.Contains(where, "/docs") {
			delete(l.shown, where)
		}
	}
}

// keys walks through keys, projects and their secrets.
func (l *leaks) keys(t *testing.T) {
	t.Helper()
	project := "p" + randomHex(6)
	l.reveal(t, 201, "secret", "PUT", "/v1/projects/"+project, obj{})
	l.call(t, 0, "PUT", "/v1/projects/"+project, obj{"secret": l.signing("callbacks' secret")})
	l.call(t, 200, "GET", "/v1/projects/"+project, nil)
	l.call(t, 200, "GET", "/v1/projects", nil)
	key := l.reveal(t, 201, "key", "POST", "/v1/keys", obj{"name": "a key", "scopes": []string{"tasks:*"}, "project": project})
	l.call(t, 200, "GET", "/v1/keys", nil)
	in := []string{"Taskgate-Project", project}
	l.call(t, 200, "GET", "/v1/keys/"+key.str("id"), nil, in...)
	as := []string{"Authorization", "Bearer " + key.str("key")}
	l.call(t, 200, "GET", "/v1/tasks", nil, as...)
	l.call(t, 403, "GET", "/v1/keys", nil, as...)
	l.call(t, 204, "DELETE", "/v1/keys/"+key.str("id"), nil, in...)
	until(t, "the key is gone", func() bool { return l.call(t, 0, "GET", "/v1/tasks", nil, as...).status == 401 })
	l.call(t, 401, "GET", "/v1/tasks", nil, "Authorization", "Bearer tg_"+l.secret("unknown key"))
	l.call(t, 401, "GET", "/v1/tasks", nil, "Authorization", l.secret("no bearer"))
	l.call(t, 401, "GET", "/v1/tasks", nil, "Authorization", "Bearer "+l.secret("head of no token")+"."+l.secret("claims of no token")+"."+l.secret("signature of no token"))
	// One that is well formed makes a gateway ask the issuer, which is away.
	encoded := base64.RawURLEncoding.EncodeToString
	claims, signature := encoded([]byte(`{"sub":"`+l.secret("subject of a token")+`"}`)), encoded([]byte(l.secret("signature")))
	l.note(l.secrets, "part of a token", claims, signature)
	l.call(t, 503, "GET", "/v1/tasks", nil, "Authorization", "Bearer "+encoded([]byte(`{"alg":"RS256","kid":"a"}`))+"."+claims+"."+signature)
	l.reveal(t, 200, "secret", "POST", "/v1/callback-secret/rotate", obj{})
	l.call(t, 204, "DELETE", "/v1/projects/"+project, nil)
}

// deliveries walks through tasks and what may befall them.
func (l *leaks) deliveries(t *testing.T) {
	t.Helper()
	answer := l.content("handler's answer")
	steps := map[string]string{ // path to what is at it
		"/ok": "succeeded", "/flaky": "succeeded", "/refuses": "failed", "/redirects": "failed", "/gone": "failed", "/busy": "succeeded",
	}
	var mu sync.Mutex
	tried := map[string]int{}
	h := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		tried[r.URL.Path]++
		first := tried[r.URL.Path] == 1
		mu.Unlock()
		w.Header().Set("X-Answer", answer)
		w.Header().Set("Content-Type", "text/plain")
		switch {
		case r.URL.Path == "/flaky" && first:
			w.WriteHeader(http.StatusInternalServerError)
		case r.URL.Path == "/busy" && first:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		case r.URL.Path == "/refuses":
			w.WriteHeader(http.StatusBadRequest)
		case r.URL.Path == "/redirects":
			w.Header().Set("Location", "/"+answer)
			w.WriteHeader(http.StatusFound)
		case r.URL.Path == "/gone":
			w.WriteHeader(http.StatusGone)
		}
		_, _ = io.WriteString(w, answer)
	})
	hook := serve(t, status(500), status(204))
	once := obj{"max_attempts": 2, "min_backoff": "100ms", "max_backoff": "100ms"}
	for path, end := range steps {
		l.round(t, h.URL+path, end, hook.URL, once)
	}
	closed := must(net.Listen("tcp", "127.0.0.1:0"))
	closed.Close()
	for _, target := range []string{
		garbled(t, l.content("not HTTP")), garbled(t, "HTTP/1.1 200 OK\r\nX-"+l.content("bad header")+"\x01: 1"),
		"http://" + closed.Addr().String(), "https" + strings.TrimPrefix(h.URL, "http"), "http://nowhere.invalid",
	} {
		l.round(t, target, "failed", "", once)
	}
}

// round takes a task with marks everywhere to an endpoint and to its end.
func (l *leaks) round(t *testing.T, target, end, hook string, retry obj) {
	t.Helper()
	name := "e" + randomHex(6)
	separator := "/"
	if strings.Count(target, "/") > 2 {
		separator = "?" // keep the path
	}
	config := obj{
		"url": target + separator + "q=" + l.content("query of a URL"), "retry": retry, "timeout": "5s", "result": obj{"keep_headers": []string{"X-Answer"}},
		"headers": obj{"X-Endpoint": l.content("endpoint's header")}, "auth": obj{"type": "bearer", "token": l.secret("bearer token")},
	}
	l.reveal(t, 201, "secret", "PUT", "/v1/endpoints/"+name, config)
	task := obj{
		"endpoint": name, "payload": obj{l.content("name in a payload"): l.content("payload")}, "headers": obj{"X-Task": l.content("task's header")},
	}
	if hook != "" {
		task["callback"] = obj{"url": hook + "/" + l.content("path of a callback"), "headers": obj{"X-Hook": l.content("callback's header")}}
	}
	key := `"` + l.content("idempotency key") + `"`
	id := l.call(t, 202, "POST", "/v1/tasks", task, "Idempotency-Key", key).obj.str("id")
	l.call(t, 0, "POST", "/v1/tasks", task, "Idempotency-Key", key)
	l.call(t, 422, "POST", "/v1/tasks", obj{"endpoint": name, "payload": l.content("another payload")}, "Idempotency-Key", key)
	l.ends(t, id, end, l.await(t, id).str("reason"))
	for _, path := range []string{"", "/attempts", "/callbacks"} {
		l.call(t, 200, "GET", "/v1/tasks/"+id+path, nil)
	}
	l.call(t, 0, "GET", "/v1/tasks/"+id+"/result", nil)
}

// endpoints walks through the operations of endpoints and single tasks.
func (l *leaks) endpoints(t *testing.T) {
	t.Helper()
	h := serve(t, body(200, "text/plain", l.content("handler's answer")))
	issuer := serve(t, body(200, "application/json", `{"access_token":"`+l.secret("access token")+`","token_type":"Bearer","expires_in":3600}`))
	refusing := serve(t, body(400, "application/json", `{"error":"invalid_client","error_description":"`+l.content("issuer's refusal")+`"}`))
	cert, key := l.clientPair()
	password := l.secret("password")
	l.note(l.secrets, "basic credentials", base64.StdEncoding.EncodeToString([]byte("us:"+password)))
	for _, auth := range []obj{
		{"type": "none"},
		{"type": "basic", "username": "us", "password": password},
		{"type": "oauth2_client_credentials", "client_id": "us", "client_secret": l.secret("client secret"), "token_url": issuer.URL + "/?q=" + l.content("query of a token URL")},
		{"type": "oauth2_client_credentials", "client_id": "us", "client_secret": l.secret("client secret"), "token_url": refusing.URL},
		{"type": "mtls", "certificate": cert, "private_key": key},
	} {
		name := "e" + randomHex(6)
		path := "/v1/endpoints/" + name
		l.call(t, 201, "PUT", path, obj{"url": h.URL + "/?q=" + l.content("query of a URL"), "auth": auth, "secret": l.signing("signing secret"), "retry": obj{"max_attempts": 1}})
		l.call(t, 200, "GET", path, nil)
		l.call(t, 200, "POST", path+"/test", obj{"payload": l.content("payload of a test"), "headers": obj{"X-T": l.content("header of a test")}})
		l.call(t, 200, "PATCH", path, obj{"headers": obj{"X-E": l.content("endpoint's header")}}, "Content-Type", "application/merge-patch+json")
		l.call(t, 0, "POST", path+"/rotate-secret", obj{"secret": l.signing("signing secret")})
		l.reveal(t, 200, "secret", "POST", path+"/rotate-secret", obj{})
		raw := l.call(t, 202, "POST", path+"/tasks?label=a:b", l.content("raw payload"), "Content-Type", "text/plain", "X-Raw", l.content("raw header")).obj.str("id")
		l.await(t, raw)
		l.call(t, 200, "POST", path+"/pause", nil)
		waiting := l.call(t, 202, "POST", "/v1/tasks", obj{"endpoint": name, "payload": l.content("payload"), "delay": "1h"}).obj.str("id")
		l.call(t, 0, "POST", "/v1/tasks/"+waiting+"/reschedule", obj{"delay": "2h"})
		l.call(t, 0, "POST", "/v1/tasks/"+waiting+"/retry", nil)
		l.call(t, 0, "POST", "/v1/tasks/"+waiting+"/cancel", nil)
		l.call(t, 202, "POST", "/v1/tasks", obj{"endpoint": name, "payload": l.content("payload"), "delay": "1h"})
		l.call(t, 200, "POST", path+"/purge", obj{})
		l.call(t, 200, "POST", path+"/resume", nil)
		l.call(t, 204, "DELETE", path+"?force=cancel", nil)
	}
	l.call(t, 200, "GET", "/v1/endpoints", nil)
	l.call(t, 200, "GET", "/v1/tasks?limit=100", nil)
}

func (l *leaks) bulk(t *testing.T) {
	t.Helper()
	name := "e" + randomHex(6)
	l.reveal(t, 201, "secret", "PUT", "/v1/endpoints/"+name, obj{"url": "http://127.0.0.1:9/"})
	for range 3 {
		l.call(t, 202, "POST", "/v1/tasks", obj{"endpoint": name, "payload": l.content("payload"), "delay": "1h"})
	}
	for _, path := range []string{"/v1/tasks/retry", "/v1/tasks/cancel"} {
		id := l.call(t, 202, "POST", path, obj{"filter": obj{"endpoint": name}, "rate": 0.1}).obj.str("id")
		l.call(t, 200, "GET", "/v1/jobs/"+id, nil)
		l.call(t, 0, "POST", "/v1/jobs/"+id+"/cancel", nil)
	}
	l.call(t, 200, "GET", "/v1/jobs", nil)
}

// hostile puts marks where they do not belong. The names of unknown fields
// are repeated on purpose; values are not.
func (l *leaks) hostile(t *testing.T) {
	t.Helper()
	for key := range l.routes {
		method, path, _ := strings.Cut(key, " ")
		if !strings.HasPrefix(path, "/v1/") {
			continue
		}
		bad := regexp.MustCompile(`\{\w+\}`).ReplaceAllLiteralString(path, "x"+strings.ToLower(l.content("path")))
		l.call(t, 0, method, bad+"?unknown="+l.content("query")+"&limit="+l.content("limit")+"&wait="+l.content("wait")+"&cursor="+l.content("cursor"), nil)
		if method == "GET" || method == "DELETE" {
			continue
		}
		for _, text := range []string{
			`{"payload": ` + l.content("broken JSON"), `"` + l.content("no object") + `"`, `{"unknown": "` + l.content("unknown field") + `"}`,
			`{"url": "` + l.content("no URL") + `", "endpoint": 7, "delay": "` + l.content("no duration") + `", "secret": "` + l.secret("no secret") + `"}`,
			`{"url": "http://us:` + l.secret("password in a URL") + `@10.0.0.1/", "auth": {"type": "basic", "password": "` + l.secret("password alone") + `"}}`,
			`{"auth": {"type": "` + l.content("no type") + `", "token": "` + l.secret("token of no type") + `"}, "headers": {"Host": "` + l.content("header") + `", "X": 7}}`,
			`{"scopes": ["` + l.content("no scope") + `"], "filter": {"endpoint": "` + l.content("no endpoint") + `"}, "retry": {"schedule": ["` + l.content("no duration") + `"]}}`,
		} {
			l.call(t, 0, method, bad, text, "Idempotency-Key", "\x80"+l.content("bad key"), "Prefer", "wait="+l.content("prefer"), "Traceparent", l.content("traceparent"))
		}
		l.call(t, 0, method, bad, l.content("plain text"), "Content-Type", "text/"+strings.ToLower(l.content("media type")))
	}
}

// search looks for every mark.
func (l *leaks) search(t *testing.T) {
	t.Helper()
	if len(l.secrets) < 40 || len(l.contents) < 300 || len(l.out) < 50 {
		t.Errorf("the walk was short: %d secrets, %d contents, %d places", len(l.secrets), len(l.contents), len(l.out))
	}
	for where, text := range l.out {
		if text == "" {
			t.Errorf("%s: nothing came out", where)
		}
		for _, marks := range []map[string]string{l.secrets, l.contents} {
			for m, what := range marks {
				if i := strings.Index(strings.ToLower(text), strings.ToLower(m)); i >= 0 && !repeated(where, what) {
					t.Errorf("%s: shows %s: …%q…", where, what, text[max(0, i-200):min(len(text), i+100)])
				}
			}
		}
	}
	for where, text := range l.shown {
		for m, what := range l.secrets {
			if strings.Contains(text, m) {
				t.Errorf("%s: shows %s", where, what)
			}
		}
	}
	if path := os.Getenv("TASKGATE_E2E_OUT"); path != "" { // for who wants to read what came out
		_ = os.WriteFile(path+"."+l.name, must(json.MarshalIndent(l.out, "", " ")), 0o600)
	}
}

// repeated are marks that stand where callers name what they want: audit and
// refusals say what was asked for.
func repeated(where, what string) bool { return what == "path" && where != "traces" }
