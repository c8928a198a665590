package auth_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"

	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

const key = "tg_0123456789abcdef"

func TestAdminKey(t *testing.T) {
	a, err := auth.NewAdminKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		values []string
		ok     bool
	}{
		{"none", nil, false},
		{"right", []string{"Bearer " + key}, true},
		{"scheme in lower case", []string{"bearer " + key}, true},
		{"spaces", []string{"Bearer   " + key}, true},
		{"other scheme", []string{"Basic " + key}, false},
		{"no scheme", []string{key}, false},
		{"empty key", []string{"Bearer "}, false},
		{"prefix", []string{"Bearer " + key[:10]}, false},
		{"longer", []string{"Bearer " + key + "0"}, false},
		{"twice", []string{"Bearer " + key, "Bearer " + key}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header["Authorization"] = c.values
			p, err := a.Authenticate(r, netip.Addr{})
			if (err == nil) != c.ok {
				t.Fatalf("got %v", err)
			}
			if !c.ok {
				if task.CodeOf(err) != auth.CodeUnauthenticated {
					t.Errorf("got code %s", task.CodeOf(err))
				}
				return
			}
			if p.Project != auth.DefaultProject || !p.Can(auth.ScopeTasksWrite) || p.KeyID != "admin" {
				t.Errorf("got %+v", p)
			}
		})
	}
}

func TestAdminKeyEmpty(t *testing.T) {
	if _, err := auth.NewAdminKey(""); task.CodeOf(err) != task.CodeInvalid {
		t.Errorf("an empty key would let everyone in: %v", err)
	}
}

func TestNone(t *testing.T) {
	for _, c := range []struct {
		name, method, host string
		header             http.Header
		ok                 bool
	}{
		{"curl", "POST", "127.0.0.1:8080", nil, true},
		{"name", "POST", "localhost:8080", nil, true},
		{"name below localhost", "POST", "a.localhost", nil, true},
		{"IPv6", "POST", "[::1]:8080", nil, true},
		{"IPv6 without a port", "POST", "[::1]", nil, true},
		{"rebinding", "GET", "evil.example:8080", nil, false},
		{"looks local", "GET", "localhost.evil.example", nil, false},
		{"public address", "GET", "192.0.2.1", nil, false},
		{"own page", "POST", "localhost:8080", http.Header{"Sec-Fetch-Site": {"same-origin"}}, true},
		{"other site writes", "POST", "localhost:8080", http.Header{"Sec-Fetch-Site": {"cross-site"}}, false},
		{"other origin writes", "POST", "localhost:8080", http.Header{"Origin": {"http://evil.example"}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, "/", nil)
			r.Host = c.host
			if c.header != nil {
				r.Header = c.header
			}
			p, err := auth.NewNone().Authenticate(r, netip.Addr{})
			if (err == nil) != c.ok {
				t.Fatalf("got %v", err)
			}
			if c.ok != p.Can(auth.ScopeEndpointsWrite) {
				t.Errorf("got %+v", p)
			}
			if !c.ok && task.CodeOf(err) != auth.CodeForbidden {
				t.Errorf("got code %s", task.CodeOf(err))
			}
		})
	}
}

func TestScopes(t *testing.T) {
	for _, c := range []struct {
		held []auth.Scope
		can  []auth.Scope
	}{
		{nil, nil},
		{[]auth.Scope{auth.ScopeTasksRead}, []auth.Scope{auth.ScopeTasksRead}},
		{[]auth.Scope{auth.ScopeTasks}, []auth.Scope{auth.ScopeTasks, auth.ScopeTasksRead, auth.ScopeTasksWrite}},
		{[]auth.Scope{auth.ScopeTasksRead, auth.ScopeTasksWrite}, []auth.Scope{auth.ScopeTasksRead, auth.ScopeTasksWrite}},
		{
			[]auth.Scope{auth.ScopeKeys, auth.ScopeEndpoints},
			[]auth.Scope{auth.ScopeKeys, auth.ScopeEndpoints, auth.ScopeEndpointsRead, auth.ScopeEndpointsWrite},
		},
		{[]auth.Scope{auth.ScopeAdmin}, auth.Scopes()},
	} {
		p := auth.Principal{Scopes: c.held}
		for _, s := range auth.Scopes() {
			err := p.Require(s)
			if slices.Contains(c.can, s) != (err == nil) || err != nil && task.CodeOf(err) != auth.CodeForbidden {
				t.Errorf("%v: %s: %v", c.held, s, err)
			}
		}
		if p.Admin() != slices.Contains(c.held, auth.ScopeAdmin) {
			t.Errorf("%v: admin %t", c.held, p.Admin())
		}
	}
}
