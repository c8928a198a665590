package auth

import (
	"strings"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Scope is a right that a key may have.
type Scope = task.Scope

// The scopes. [ScopeAdmin] holds all others, "tasks:*" every one that begins
// with "tasks:".
const (
	ScopeTasksWrite     Scope = "tasks:write"
	ScopeTasksRead      Scope = "tasks:read"
	ScopeTasks          Scope = "tasks:*"
	ScopeEndpointsWrite Scope = "endpoints:write"
	ScopeEndpointsRead  Scope = "endpoints:read"
	ScopeEndpoints      Scope = "endpoints:*"
	ScopeKeys           Scope = "keys:*"
	ScopeAdmin          Scope = "admin"
)

// Scopes returns the closed list.
func Scopes() []Scope {
	return []Scope{
		ScopeTasksWrite, ScopeTasksRead, ScopeTasks, ScopeEndpointsWrite, ScopeEndpointsRead, ScopeEndpoints,
		ScopeKeys, ScopeAdmin,
	}
}

// Principal is an authenticated caller.
type Principal struct {
	Project string
	Scopes  []Scope
	// KeyID names the key, or a token's subject, in logs; it is no secret.
	KeyID string
	// ExpiresAt is the end of the key, zero for none.
	ExpiresAt time.Time
	// Rate is how often the key may call, zero for no limit.
	Rate task.Rate
	// Endpoints and Addresses are what the caller is bound to.
	Endpoints task.EndpointSet
	Addresses task.AddressSet
	// Token: a token says so, not a key; its project may not exist.
	Token bool
}

// Can reports whether the caller has the scope. Having "tasks:*" takes that
// or admin: the parts of a wildcard do not add up to it.
func (p Principal) Can(s Scope) bool {
	for _, held := range p.Scopes {
		if held == s || held == ScopeAdmin {
			return true
		}
		group, wild := strings.CutSuffix(string(held), "*")
		if wild && strings.HasPrefix(string(s), group) {
			return true
		}
	}
	return false
}

// Admin reports whether the caller may act in every project.
func (p Principal) Admin() bool { return p.Can(ScopeAdmin) }

// Require returns an error with [CodeForbidden] when the caller lacks the
// scope.
func (p Principal) Require(s Scope) error {
	if p.Can(s) {
		return nil
	}
	return task.Errorf(CodeForbidden, "this key lacks the scope %s", s)
}

func admin(keyID string) Principal {
	return Principal{Project: DefaultProject, Scopes: []Scope{ScopeAdmin}, KeyID: keyID}
}
