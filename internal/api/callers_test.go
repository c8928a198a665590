package api_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/contracttest"
	"github.com/taskgate/taskgate/internal/task"
)

// eachOperation calls fn with every operation of the contract, and a path that
// is one of its.
func eachOperation(t *testing.T, fn func(op *openapi3.Operation, method, path string)) {
	t.Helper()
	doc, err := contracttest.Document()
	if err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("{name}", "emails", "{project}", "acme")
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			at := fill.Replace(path)
			if before, rest, ok := strings.Cut(at, "{"); ok {
				_, after, _ := strings.Cut(rest, "}")
				at = before + "x" + after
			}
			fn(op, method, at)
		}
	}
}

// TestBrowsersAreTold: every answer, good or bad, of every operation tells
// browsers to do nothing with it; only the page may do more.
func TestBrowsersAreTold(t *testing.T) {
	w := newWorld()
	plain, secure := w.server(t), w.server(t, func(_ *api.Deps, o *api.Options) { o.HSTS = true })
	check := func(s *api.Server, r *http.Request, page bool, hsts string) {
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, r)
		h, policy := rec.Header(), rec.Header().Get("Content-Security-Policy")
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Strict-Transport-Security": hsts,
			"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if got := h.Get(name); got != want && (name != "Cache-Control" || !page) {
				t.Errorf("%s %s, %d: %s: %q", r.Method, r.URL, rec.Code, name, got)
			}
		}
		if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") ||
			!page && strings.Contains(policy, "script-src") || h.Get("Server") != "" {
			t.Errorf("%s %s, %d: policy %q", r.Method, r.URL, rec.Code, policy)
		}
	}
	n := 0
	eachOperation(t, func(op *openapi3.Operation, method, path string) {
		for _, key := range []string{"Authorization: Bearer " + adminKey, "Authorization: "} {
			n++
			check(plain, requestOf(method, path, "", []string{key}), op.OperationID == "getDocs", "")
			check(secure, requestOf(method, path, "", []string{key}), op.OperationID == "getDocs", "max-age=31536000")
		}
	})
	check(plain, requestOf("GET", "/nowhere", "", nil), false, "")
	check(plain, requestOf("BREW", "/v1/tasks", "", nil), false, "")
	check(plain, requestOf("GET", "/docs/redoc.js", "", nil), true, "")
	if n < 70 {
		t.Errorf("%d requests", n)
	}
}

// TestClientAddress: X-Forwarded-For is believed as far as trusted proxies
// wrote it, and everywhere: by keys' addresses, the access and the audit log.
func TestClientAddress(t *testing.T) {
	for name, c := range map[string]struct {
		trusted string
		peer    string
		header  []string
		want    string
	}{
		"no proxy":                      {"", "192.0.2.1:9", nil, "192.0.2.1"},
		"no trust, forged":              {"", "192.0.2.1:9", []string{"X-Forwarded-For: 203.0.113.5", "X-Real-IP: 203.0.113.6", "Forwarded: for=203.0.113.7"}, "192.0.2.1"},
		"proxy":                         {"10.0.0.0/8", "10.1.2.3:9", []string{"X-Forwarded-For: 203.0.113.5"}, "203.0.113.5"},
		"proxy that says nothing":       {"10.0.0.0/8", "10.1.2.3:9", nil, "10.1.2.3"},
		"forged past the proxy":         {"10.0.0.0/8", "192.0.2.1:9", []string{"X-Forwarded-For: 203.0.113.5"}, "192.0.2.1"},
		"forged through the proxy":      {"10.0.0.0/8", "10.1.2.3:9", []string{"X-Forwarded-For: 127.0.0.1, 203.0.113.5"}, "203.0.113.5"},
		"forged as if of a proxy":       {"10.0.0.0/8", "10.1.2.3:9", []string{"X-Forwarded-For: 198.51.100.1, 203.0.113.5, 10.9.9.9"}, "203.0.113.5"},
		"forged in a header of its own": {"10.0.0.0/8", "10.1.2.3:9", []string{"X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 203.0.113.5"}, "203.0.113.5"},
		"nonsense":                      {"10.0.0.0/8", "10.1.2.3:9", []string{"X-Forwarded-For: 203.0.113.5, <script>"}, ""},
		"with a port":                   {"10.0.0.0/8", "10.1.2.3:9", []string{"X-Forwarded-For: 203.0.113.5:4711"}, ""},
		"two proxies":                   {"10.0.0.0/8,2001:db8::/32", "[2001:db8::1]:9", []string{"X-Forwarded-For: 203.0.113.5, 10.1.1.1"}, "203.0.113.5"},
		"loopback is not trusted":       {"10.0.0.0/8", "127.0.0.1:9", []string{"X-Forwarded-For: 203.0.113.5"}, "127.0.0.1"},
		"private is not trusted":        {"10.0.0.0/8", "192.168.1.1:9", []string{"X-Forwarded-For: 203.0.113.5"}, "192.168.1.1"},
		"IPv6":                          {"10.0.0.0/8", "10.1.2.3:9", []string{"X-Forwarded-For: 2001:db8::7"}, "2001:db8::7"},
		"mapped":                        {"", "[::ffff:192.0.2.1]:9", nil, "192.0.2.1"},
		"with a zone":                   {"", "[fe80::1%eth0]:9", nil, "fe80::1"},
	} {
		w := newWorld()
		var trusted []netip.Prefix
		for text := range strings.SplitSeq(c.trusted, ",") {
			if text != "" {
				trusted = append(trusted, netip.MustParsePrefix(text))
			}
		}
		seen := &addresses{}
		s := w.server(t, func(d *api.Deps, o *api.Options) {
			d.Auth, o.TrustedProxies, o.AccessLog, o.Logger = seen, trusted, true, logTo(w, slog.LevelInfo)
		})
		r := requestOf("DELETE", "/v1/keys/x", "", c.header)
		r.RemoteAddr = c.peer
		s.Handler().ServeHTTP(httptest.NewRecorder(), r)
		want, _ := netip.ParseAddr(c.want) // the zero one is unknown
		if len(seen.from) != 1 || seen.from[0] != want {
			t.Errorf("%s: authenticated from %v, want %s", name, seen.from, c.want)
		}
		log := lines(t, w.logged.String())
		if len(log) != 2 || log[0]["peer"] != c.want || log[1]["peer"] != c.want {
			t.Errorf("%s: log %v", name, log)
		}
	}
}

// addresses notes where callers come from.
type addresses struct{ from []netip.Addr }

func (a *addresses) Authenticate(_ *http.Request, from netip.Addr) (auth.Principal, error) {
	a.from = append(a.from, from)
	return auth.Principal{Project: project, KeyID: "k", Scopes: []auth.Scope{auth.ScopeAdmin}}, nil
}

// refusing is an authenticator that lets nobody in.
type refusing struct{ err error }

func (r refusing) Authenticate(*http.Request, netip.Addr) (auth.Principal, error) {
	return auth.Principal{Project: project, KeyID: "k7"}, r.err
}

func TestRefusedCallers(t *testing.T) {
	slowed := task.Errorf(auth.CodeTooManyFailures, "too many")
	slowed.RetryAfter = 90*time.Second + 1
	for _, c := range []struct {
		err     error
		status  int
		retry   string
		audited bool
	}{
		{slowed, 429, "91", false},
		{task.Errorf(auth.CodeUnauthenticated, "unknown"), 401, "", false},
		{task.Errorf(auth.CodeAddress, "elsewhere"), 403, "", true},
		{task.Wrap(task.CodeUnavailable, errors.New("SECRET"), "the issuer is away"), 503, "5", true},
	} {
		w := newWorld()
		client := newClient(t, w.server(t, func(d *api.Deps, o *api.Options) { d.Auth, o.Logger = refusing{c.err}, logTo(w, slog.LevelInfo) }))
		a := client.send(t, "DELETE", "/v1/keys/x", "")
		a.wantStatus(t, c.status)
		if got := a.Header().Get("Retry-After"); got != c.retry {
			t.Errorf("%v: Retry-After %q", c.err, got)
		}
		if audited := strings.Contains(w.logged.String(), `"audit":true`); audited != c.audited {
			t.Errorf("%v: audited %v: %s", c.err, audited, w.logged.String())
		}
	}
	// A token's project must be there.
	w := newWorld()
	token := auth.Principal{Project: "nowhere", KeyID: "oidc:x", Scopes: []auth.Scope{auth.ScopeTasks}, Token: true}
	w.client(t, token).send(t, "GET", "/v1/tasks", "").want(t, 403, "forbidden")
	token.Project = project
	w.client(t, token).send(t, "GET", "/v1/tasks", "").wantStatus(t, 200)
}

// unaudited change single tasks, which are their own record.
var unaudited = []string{"submitTask", "submitRawTask", "cancelTask", "retryTask", "rescheduleTask"}

// TestAuditOfEveryOperation: whatever changes something, refused or not, is in
// the audit log: who, what, about what, from where; without what was sent. A
// new operation must be here, by being audited or by name.
func TestAuditOfEveryOperation(t *testing.T) {
	left := slices.Clone(unaudited)
	n := 0
	eachOperation(t, func(op *openapi3.Operation, method, path string) {
		scope, protected := op.Extensions["x-required-scope"].(string)
		if method == http.MethodGet || !protected {
			return
		}
		want := !slices.Contains(unaudited, op.OperationID)
		left = slices.DeleteFunc(left, func(id string) bool { return id == op.OperationID })
		n++
		for _, body := range []string{"", `{"secret":"AUDIT-SECRET","name":"AUDIT-SECRET"}`} {
			w := newWorld()
			s := w.server(t, func(d *api.Deps, o *api.Options) {
				d.Auth = as{auth.Principal{Project: project, KeyID: "k1", Scopes: []auth.Scope{auth.ScopeAdmin}}}
				o.Logger, o.Audit = slog.New(slog.DiscardHandler), logTo(w, slog.LevelInfo)
			})
			rec := httptest.NewRecorder()
			s.Handler().ServeHTTP(rec, requestOf(method, path, body, []string{"X-Secret: AUDIT-SECRET"}))
			log := lines(t, w.logged.String())
			if !want {
				if len(log) != 0 {
					t.Errorf("%s is audited: %v", op.OperationID, log)
				}
				continue
			}
			if len(log) != 1 {
				t.Fatalf("%s (%s) is not audited: %v", op.OperationID, scope, log)
			}
			for field, v := range map[string]any{
				"msg": "audit", "audit": true, "operation": op.OperationID, "key": "k1", "project": project, "peer": "192.0.2.1",
				"request": rec.Header().Get("X-Request-ID"), "status": float64(rec.Code),
			} {
				if log[0][field] != v {
					t.Errorf("%s: %s is %v, want %v", op.OperationID, field, log[0][field], v)
				}
			}
			if _, err := time.Parse(time.RFC3339, fmt.Sprint(log[0]["time"])); err != nil {
				t.Errorf("%s: no time: %v", op.OperationID, log[0])
			}
			if target := fmt.Sprint(log[0]["target"]); strings.Contains(path, "emails") && !strings.Contains(target, "emails") {
				t.Errorf("%s: about %q", op.OperationID, target)
			}
			if strings.Contains(w.logged.String(), "AUDIT-SECRET") {
				t.Errorf("%s: a secret is in the log: %s", op.OperationID, w.logged.String())
			}
		}
	})
	if len(left) > 0 || n < 20 {
		t.Errorf("%d operations; not in the contract: %v", n, left)
	}
}
