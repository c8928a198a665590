package config

import (
	"log/slog"
	"net/netip"
	"time"
)

// Role is what a process is asked to be. It decides defaults and what is required.
type Role string

// The roles. Gateway and Dispatcher need RabbitMQ and Redis; Dev and Serve are both of them in one
// process on the embedded store.
const (
	Gateway    Role = "gateway"
	Dispatcher Role = "dispatcher"
	Serve      Role = "serve"
	Dev        Role = "dev"
)

// Roles returns every role.
func Roles() []Role { return []Role{Gateway, Dispatcher, Serve, Dev} }

// Embedded says whether the role keeps its tasks in the embedded store.
func (r Role) Embedded() bool { return r == Serve || r == Dev }

// servesAPI says whether the role listens for the public API.
func (r Role) servesAPI() bool { return r != Dispatcher }

// Auth is how callers of the API prove who they are.
type Auth string

// The ways of authentication.
const (
	AuthKeys Auth = "keys" // an API key with every request
	AuthNone Auth = "none" // everyone is admin: only on a loopback listener
)

// LogFormat is the shape of log lines.
type LogFormat string

// The log formats.
const (
	LogJSON LogFormat = "json"
	LogText LogFormat = "text"
)

// TraceCallers is what becomes of the trace that a request to the API brings along.
type TraceCallers string

// The ways.
const (
	TraceLink     TraceCallers = "link"     // the request begins a trace of its own and links to it
	TraceContinue TraceCallers = "continue" // the request is part of it
)

// Config is the whole configuration of one process. [Load] makes it; a literal must pass
// [Config.Validate]. Sizes are in bytes.
type Config struct {
	Role Role

	Listen      string // host:port of the API
	AdminListen string // host:port of health, metrics and pprof
	PublicURL   string // without a trailing slash; "" means derived from the address in use
	Pprof       bool

	TLSCertFile     string // PEM; "" means that the API speaks HTTP
	TLSKeyFile      string // of the certificate, PEM
	TLSClientCAFile string // whose certificates callers must have, PEM; "" for none

	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed

	AMQPURLs  []string // nodes of one RabbitMQ, tried in turn
	RedisURL  string
	DataDir   string // embedded store
	Namespace string // in front of every queue, exchange and key
	// Strict refuses servers that are set up to lose something, instead of a warning.
	Strict bool
	// AllowOldCluster takes several nodes of a RabbitMQ whose clusters stall delayed tasks.
	AllowOldCluster bool

	Auth      Auth
	AdminKey  string // bootstrap key with scope admin; "" when Auth is none
	SecretKey []byte // 32 bytes, or nil in Dev: then generated into DataDir
	// OldSecretKeys only open what they sealed once.
	OldSecretKeys [][]byte

	AuthFailures int // failed authentications of an address before it is slowed; 0: it never is

	OIDCIssuer       string   // "" for none: then only keys authenticate
	OIDCAudience     []string // of which a token must have one
	OIDCCAFile       string
	OIDCProjectClaim string
	OIDCScopesClaim  string
	OIDCScopesPrefix string // in front of our scopes among others; "" for none
	OIDCAdmin        bool   // the scope admin may come by a token

	EndpointsFile string // "" for none

	EgressAllow   []netip.Prefix
	EgressDeny    []netip.Prefix // wins over EgressAllow
	EgressPorts   []uint16       // nil means any
	EgressResolve map[string]netip.Addr
	EgressCAFile  string

	MaxPayload  int // largest payload of a task
	KeepPayload int // largest payload that is kept beside the record of a task
	Concurrency int // attempts at the same time in one process
	// MaxHeldBytes is how much of payloads, and again of answers, a process holds that delivers.
	MaxHeldBytes int

	MaxInflight int // requests to the API that are worked at the same time
	MaxPolls    int // long-polls at the same time; 0: as many as the limit of open files allows

	// Quotas of a project that has none of its own.
	ProjectRate  float64 // tasks a second, over all gateways; 0: no limit
	ProjectTasks int64   // that have not ended
	ProjectBytes int64   // of payloads

	MaxWait        time.Duration // longest long-poll
	MaxDelay       time.Duration // furthest start of a task
	PublishTimeout time.Duration // longest wait for the confirm of an accepted task
	ShutdownGrace  time.Duration // drain time after the first signal

	LogLevel  slog.Level
	LogFormat LogFormat
	AccessLog bool // a line for every request at level info

	OTLPEndpoint string            // base URL of a receiver of traces; "": none are made
	OTLPHeaders  map[string]string // sent to it
	TraceSample  float64           // part of the traces begun here that is kept, 0 to 1
	TraceCallers TraceCallers

	MetricsEndpoints int  // with series of their own
	MetricsBacklog   bool // export what waits at the endpoints

	Echo bool // Dev: run the built-in echo handler
}

// Default returns the role's defaults. They lack what has no default, as keys and URLs, and so do
// not pass [Config.Validate] for every role.
func Default(role Role) Config {
	cfg := Config{Role: role}
	for _, s := range table {
		value := s.DefaultFor(role)
		if value == "" || s.set == nil {
			continue
		}
		if err := s.set(&cfg, value); err != nil {
			// The table is part of the program, and each default has a test.
			panic("config: default of " + s.Name + ": " + err.Error())
		}
	}

	return cfg
}
