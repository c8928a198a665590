// Package api serves the public HTTP API: the contract openapi.yaml, in Go.
//
// A request passes, in this order: its id and log line, authentication, the
// contract's parameters, the body (schema and meaning together, so that all
// faults are told at once), then one method of [Server] for its operation.
// Every refusal is an error with a code; problem.go alone knows statuses.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/taskgate/taskgate/internal/admission"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/bulk"
	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

// Engine changes tasks.
type Engine interface {
	Accept(ctx context.Context, s lifecycle.Submission) (lifecycle.Receipt, error)
	Find(ctx context.Context, project string, id task.ID) (*task.Snapshot, error)
	Cancel(ctx context.Context, project string, id task.ID) (*task.Snapshot, error)
	Retry(ctx context.Context, project string, id task.ID) (*task.Snapshot, error)
	// Reschedule says task.CodeInvalid when the task expires before at.
	Reschedule(ctx context.Context, project string, id task.ID, at time.Time) (*task.Snapshot, error)
	CancelEndpoint(ctx context.Context, project, endpoint string) (int, error)
	// Purge cancels what a query finds until a moment has passed, and says
	// how many and where to go on. task.CodeInvalid means the cursor.
	Purge(ctx context.Context, q task.Query, until time.Time) (n int, next string, err error)
}

// Results reads tasks.
type Results interface {
	// GetResult returns a task with its result; both may be nil.
	GetResult(ctx context.Context, id task.ID) (*task.Snapshot, *task.Result, error)
	// GetMany returns those of the tasks that are there, in order.
	GetMany(ctx context.Context, ids []task.ID) ([]task.Snapshot, error)
	Attempts(ctx context.Context, id task.ID) ([]task.Attempt, error)
	List(ctx context.Context, q task.Query) (task.Page, error)
	Depths(ctx context.Context, project string, ep task.EndpointID) (task.Depths, error)
	// Usage tells what a project uses of its quotas.
	Usage(ctx context.Context, project string) (task.Usage, error)
	// Figures returns those of the last minutes, in the order of eps.
	Figures(ctx context.Context, eps []task.EndpointID, now time.Time) ([]task.Figures, error)
	// Circuits returns those that are not closed.
	Circuits(ctx context.Context) (map[task.EndpointID]task.StoredCircuit, error)
}

// Waiter waits for ends.
type Waiter interface {
	// Wait returns the task as soon as it is final, or at until as it is
	// then; nil for an unknown id.
	Wait(ctx context.Context, id task.ID, until time.Time) (*task.Snapshot, error)
}

// Jobs changes many tasks by a filter. Unknown ids, and those of another
// project, are task.CodeNotFound.
type Jobs interface {
	// Start says task.CodeConflict when the project has too many under way.
	Start(ctx context.Context, r bulk.Request) (bulk.Job, error)
	// Preview changes nothing.
	Preview(ctx context.Context, r bulk.Request) (bulk.Preview, error)
	// Wait returns the job as soon as it has ended, or at until as it is then.
	Wait(ctx context.Context, project, id string, until time.Time) (bulk.Job, error)
	// List returns the newest first, those older than the one named before.
	List(ctx context.Context, project, before string, limit int) (jobs []bulk.Job, more bool, err error)
	// Stop cancels a job; task.CodeConflict when it ended otherwise.
	Stop(ctx context.Context, project, id string) (bulk.Job, error)
}

// Endpoints is the registry.
type Endpoints interface {
	// Endpoint returns a copy.
	Endpoint(project, name string) (*task.Endpoint, bool)
	// Endpoints returns a project's endpoints, sorted by name.
	Endpoints(project string) []task.Endpoint
	// UpdateEndpoint stores what fn makes of the present endpoint (nil:
	// none). fn may be called several times; its error is returned as it is.
	// Project, name and times are set by the registry.
	UpdateEndpoint(
		ctx context.Context, project, name string, fn func(old *task.Endpoint) (task.Endpoint, error),
	) (created bool, ep task.Endpoint, err error)
	DeleteEndpoint(ctx context.Context, project, name string) error
	// Sync makes what was written before the call, on any gateway, seen after
	// it.
	Sync(ctx context.Context) error
}

// Projects is the registry's part about projects.
type Projects interface {
	// Project returns a copy.
	Project(name string) (*task.Project, bool)
	// Projects returns all, sorted by name.
	Projects() []task.Project
	// EndpointNames lists a project's endpoints, the deleted ones included.
	EndpointNames(project string) []string
	// UpdateProject is to projects what UpdateEndpoint is to endpoints.
	UpdateProject(
		ctx context.Context, name string, fn func(old *task.Project) (task.Project, error),
	) (created bool, p task.Project, err error)
	// DeleteProject says task.CodeConflict while the project has endpoints or
	// keys.
	DeleteProject(ctx context.Context, name string) error
}

// Keys is the registry's part about keys.
type Keys interface {
	// Key returns a copy.
	Key(project, id string) (*task.APIKey, bool)
	// Keys returns a project's keys, sorted by id.
	Keys(project string) []task.APIKey
	// AddKey stores a new key; its time is set by the registry.
	AddKey(ctx context.Context, k task.APIKey) (task.APIKey, error)
	// DeleteKey deletes a key unless allowed refuses.
	DeleteKey(ctx context.Context, project, id string, allowed func(*task.APIKey) error) error
	// KeyUses says when keys were last used, as far as that is known.
	KeyUses(ctx context.Context) (map[string]time.Time, error)
}

// Queues makes and removes the endpoints' queues.
type Queues interface {
	Declare(ctx context.Context, ep task.EndpointID) error
	Delete(ctx context.Context, ep task.EndpointID) error
}

// Secrets makes signing secrets and hides them.
type Secrets interface {
	// Generate returns a new secret in its written form.
	Generate() string
	// GeneratePair does the same with a key of which a part is public.
	GeneratePair() string
	// Public is the public part of a written secret that [Secrets.Check] took,
	// "" when it has none.
	Public(secret string) string
	// Check says what is wrong with a written secret, without quoting it.
	Check(secret string) (detail string, ok bool)
	// Signs reports whether the secret is the endpoint's current one.
	Signs(ep *task.Endpoint, secret string) bool
	// Seal encrypts a secret for the registry, bound to its endpoint.
	Seal(project, endpoint, secret string) ([]byte, error)
	// SealTarget does the same with what the endpoint's target asks for.
	SealTarget(project, endpoint string, secret task.TargetSecret) ([]byte, error)
	// Asks reports whether the endpoint's target asks for this secret.
	Asks(ep *task.Endpoint, secret task.TargetSecret) bool
}

// Authenticator says who calls. Errors carry the codes of package auth.
type Authenticator interface {
	// Authenticate is told the client's address, invalid when it is not known.
	// With an error the principal is for logs only.
	Authenticate(r *http.Request, from netip.Addr) (auth.Principal, error)
}

// Trials has handlers called for what is no task.
type Trials interface {
	// Try makes one call. Its error is that no call was made, or that what
	// came of it is not known.
	Try(ctx context.Context, t task.Trial) (task.TrialResult, error)
}

// Rates holds callers to how often they may ask, over all gateways.
type Rates interface {
	// Take takes one of the rate of that name, soon.
	Take(ctx context.Context, name string, rate task.Rate) admission.Pass
}

// Quotas holds projects to how much they may have; nil is "it may".
type Quotas interface {
	// Admit takes in a task with a payload of so many bytes.
	Admit(ctx context.Context, project string, may task.Quotas, bytes int64) *admission.Excess
	// Full only looks.
	Full(ctx context.Context, project string, may task.Quotas) *admission.Excess
}

// URLChecker says what is wrong with a handler's URL.
type URLChecker func(url string) (detail string, ok bool)

// Check is a dependency's readiness.
type Check struct {
	Name string
	// Optional: without it the API works on, with less.
	Optional bool
	// Ready returns nil when requests that need the dependency have a fair
	// chance. It must end by its context's end.
	Ready func(ctx context.Context) error
}

// Deps are what the API stands on. All are required but Ready, Rates and
// Quotas.
type Deps struct {
	Engine    Engine
	Results   Results
	Waiter    Waiter
	Jobs      Jobs
	Endpoints Endpoints
	Projects  Projects
	Keys      Keys
	Queues    Queues
	Secrets   Secrets
	Trials    Trials
	Auth      Authenticator
	CheckURL  URLChecker
	// Rates is asked only where there is a limit; nil: there are none.
	Rates Rates
	// Quotas is asked for everything that brings tasks; nil: there are none.
	Quotas Quotas
	Ready  []Check
}

// Options of a [Server]. Zero values get the defaults.
type Options struct {
	// MaxPayload is the longest payload, in bytes; default 1 MiB.
	MaxPayload int
	// MaxInflight is how many requests are worked at the same time, with
	// broker and store; default 256. As many again wait for a moment.
	MaxInflight int
	// MaxPolls is how many long-polls wait at the same time; default 10,000.
	MaxPolls int
	// MaxBodies is how many bytes of bodies are held at the same time; default
	// 64 MiB, and at least four of the longest.
	MaxBodies int
	// MaxWait is the longest long-poll; default 60 s.
	MaxWait time.Duration
	// MaxDelay is how far ahead a task may start; default and at most
	// task.MaxDelay.
	MaxDelay time.Duration
	// BodyTimeout is how long a request's body may take to arrive; default 30 s.
	BodyTimeout time.Duration
	// WriteTimeout is how long an answer may take, beside a wait; default 30 s.
	WriteTimeout time.Duration
	// ReadyTimeout bounds one readiness check; default 2 s.
	ReadyTimeout time.Duration
	// Quotas are those of a project that has none of its own.
	Quotas task.Quotas
	Now    func() time.Time
	Logger *slog.Logger
	// AccessLog has a line written for every request (but for health) that a
	// log at level info shows; otherwise it takes level debug.
	AccessLog bool
	// TrustedProxies are whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// HSTS: browsers are told to come by HTTPS only, from now on.
	HSTS bool
	// Audit gets a line for each change of what operators decide, whatever
	// the level of Logger; default Logger.
	Audit *slog.Logger
	// Observer is told of every request; nil: nobody.
	Observer Observer
}

// Defaults of [Options].
const (
	defaultMaxPayload   = 1 << 20
	defaultMaxInflight  = 256
	defaultMaxPolls     = 10_000
	defaultMaxBodies    = 64 << 20
	minBodies           = 4
	defaultMaxWait      = time.Minute
	defaultBodyTimeout  = 30 * time.Second
	defaultWriteTimeout = 30 * time.Second
	defaultReadyTimeout = 2 * time.Second
)

func (o Options) withDefaults() Options {
	orDefault(&o.MaxPayload, defaultMaxPayload)
	orDefault(&o.MaxInflight, defaultMaxInflight)
	orDefault(&o.MaxPolls, defaultMaxPolls)
	orDefault(&o.MaxBodies, defaultMaxBodies)
	o.MaxBodies = max(o.MaxBodies, minBodies*(o.MaxPayload+maxHead))
	orDefault(&o.MaxWait, defaultMaxWait)
	orDefault(&o.MaxDelay, task.MaxDelay)
	orDefault(&o.BodyTimeout, defaultBodyTimeout)
	orDefault(&o.WriteTimeout, defaultWriteTimeout)
	orDefault(&o.ReadyTimeout, defaultReadyTimeout)
	o.MaxDelay = min(o.MaxDelay, task.MaxDelay)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Audit == nil {
		o.Audit = o.Logger
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	return o
}

func orDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
