package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	adminKey = "tg_Zq8pX1vLr4TnW7yK2mBc"
	amqp     = "amqp://guest:hunter2@127.0.0.1:5672/"
	redis    = "redis://:correcthorse@127.0.0.1:6379/0"
)

var secretKey64 = base64.StdEncoding.EncodeToString([]byte("0123456789abcdefghijklmnopqrstuv"))

// required is the least environment with which each role starts.
func required(role Role) []string {
	switch role {
	case Gateway:
		return env("AMQP_URL", amqp, "REDIS_URL", redis, "ADMIN_KEY", adminKey, "SECRET_KEY", secretKey64)
	case Dispatcher:
		return env("AMQP_URL", amqp, "REDIS_URL", redis, "SECRET_KEY", secretKey64)
	case Serve:
		return env("ADMIN_KEY", adminKey, "SECRET_KEY", secretKey64)
	case Dev:
		return nil
	}
	panic("unknown role " + role)
}

func env(pairs ...string) []string {
	var environ []string
	for pair := range slices.Chunk(pairs, 2) {
		environ = append(environ, "TASKGATE_"+pair[0]+"="+pair[1])
	}

	return environ
}

func file(content string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		if path != "taskgate.yaml" {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}

		return []byte(content), nil
	}
}

func diff(got, want any) string {
	type bare Config // without the methods that redact

	return cmp.Diff(got, want, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}),
		cmp.Transformer("bare", func(c Config) bare { return bare(c) }))
}

func mustLoad(t *testing.T, role Role, src Source) Config {
	t.Helper()
	cfg, err := Load(role, src)
	if err != nil {
		t.Fatalf("load %s: %v", role, err)
	}

	return cfg
}

// faultsOf loads what must be wrong and returns what was found.
func faultsOf(t *testing.T, role Role, src Source) Faults {
	t.Helper()
	_, err := Load(role, src)
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatalf("load %s: error %v, want faults", role, err)
	}

	return faults
}

func names(faults Faults) []string {
	var found []string
	for _, f := range faults {
		found = append(found, f.Name)
	}
	slices.Sort(found)

	return found
}

func TestDefaults(t *testing.T) {
	t.Parallel()

	common := Config{
		Listen: "127.0.0.1:8080", AdminListen: "127.0.0.1:9091", DataDir: "./taskgate-data", Namespace: "tg",
		Auth: AuthKeys, AdminKey: adminKey, SecretKey: []byte("0123456789abcdefghijklmnopqrstuv"),
		EgressPorts: []uint16{80, 443},
		MaxInflight: 256, ProjectTasks: 2_000_000, ProjectBytes: 8 << 30,
		MaxPayload: 1 << 20, KeepPayload: 16 << 10, Concurrency: 256, MaxHeldBytes: 64 << 20,
		MaxWait: time.Minute, MaxDelay: 365 * 24 * time.Hour, PublishTimeout: 10 * time.Second, ShutdownGrace: 30 * time.Second,
		LogLevel: slog.LevelInfo, LogFormat: LogJSON, MetricsEndpoints: 500, MetricsBacklog: true, TraceSample: 1, TraceCallers: TraceLink,
		AuthFailures: 50, OIDCProjectClaim: "taskgate_project", OIDCScopesClaim: "scope",
	}
	want := map[Role]func(*Config){
		Gateway: func(c *Config) { c.AMQPURLs, c.RedisURL = []string{amqp}, redis },
		Dispatcher: func(c *Config) {
			c.AMQPURLs, c.RedisURL, c.AdminKey, c.AdminListen = []string{amqp}, redis, "", "127.0.0.1:9092"
		},
		Serve: func(*Config) {},
		Dev: func(c *Config) {
			c.Auth, c.AdminKey, c.SecretKey, c.EgressPorts = AuthNone, "", nil, nil
			c.EgressAllow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
		},
	}
	for _, role := range Roles() {
		t.Run(string(role), func(t *testing.T) {
			t.Parallel()

			expected := common
			expected.Role = role
			want[role](&expected)
			if d := diff(mustLoad(t, role, Source{Environ: required(role)}), expected); d != "" {
				t.Error(d)
			}
		})
	}
}

// samples has for every setting a good value that is no default, in the form that get gives back.
var samples = map[string]string{
	"LISTEN": "0.0.0.0:1234", "ADMIN_LISTEN": "localhost:4321", "PUBLIC_URL": "https://tasks.example.com/base", "PPROF": "true",
	"AMQP_URL": "amqp://a:b@h1:1/v,amqps://a:b@h2:2/v", "REDIS_URL": "rediss://:pw@h:1/2", "DATA": "/var/lib/taskgate", "NAMESPACE": "tg-2",
	"AUTH": "none", "ADMIN_KEY": adminKey, "SECRET_KEY": secretKey64,
	"EGRESS_ALLOW": "10.0.0.0/8,fd00::/8", "EGRESS_DENY": "10.1.0.0/16,10.9.9.9/32", "EGRESS_PORTS": "443,8443",
	"EGRESS_RESOLVE": "a.example=10.0.0.1,b.example=::1", "EGRESS_CA_FILE": "ca.pem", "ENDPOINTS_FILE": "endpoints.yaml",
	"MAX_INFLIGHT": "9", "MAX_POLLS": "8", "PROJECT_RATE": "0.5", "PROJECT_TASKS": "6", "PROJECT_BYTES": "3GiB",
	"MAX_PAYLOAD": "2MiB", "KEEP_PAYLOAD": "1025B", "CONCURRENCY": "7", "MAX_HELD_BYTES": "32MiB", "STRICT": "true", "ALLOW_OLD_CLUSTER": "true",
	"MAX_WAIT": "1m30s", "MAX_DELAY": "24h0m0s", "PUBLISH_TIMEOUT": "1.5s", "SHUTDOWN_GRACE": "5s",
	"LOG_LEVEL": "debug", "LOG_FORMAT": "text", "ECHO": "true",
	"ACCESS_LOG": "true", "METRICS_ENDPOINTS": "9", "METRICS_BACKLOG": "false",
	"TLS_CERT_FILE": "cert.pem", "TLS_KEY_FILE": "key.pem", "TLS_CLIENT_CA_FILE": "clients.pem", "TRUSTED_PROXIES": "10.0.0.0/8,::1/128",
	"AUTH_FAILURES": "7", "OIDC_ISSUER": "https://login.example.com/", "OIDC_AUDIENCE": "tasks,more", "OIDC_CA_FILE": "ca.pem", "OIDC_PROJECT_CLAIM": "a.project",
	"OIDC_SCOPES_CLAIM": "a.scopes", "OIDC_SCOPES_PREFIX": "taskgate:", "OIDC_ADMIN": "true",
	"OTLP_ENDPOINT": "http://collector:4318/base", "OTLP_HEADERS": "Authorization=Bearer%20x%2Cy,X-Tenant=a", "TRACE_SAMPLE": "0.25", "TRACE_CALLERS": "continue",
}

// Every setting must reach its field from each source, and no other field.
func TestEverySettingFromEverySource(t *testing.T) {
	t.Parallel()

	for _, s := range table {
		if s.Name == nameConfig {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()

			value, ok := samples[strings.TrimPrefix(s.Name, "TASKGATE_")]
			if !ok {
				t.Fatal("has no sample")
			}
			sources := map[string]Source{
				"environment": {Environ: []string{s.Name + "=" + value}},
				"file":        {Environ: env("CONFIG", "taskgate.yaml"), ReadFile: file(fmt.Sprintf("%s: %q\n", s.Key, value))},
			}
			if s.Flag != "" {
				sources["flag"] = Source{Flags: map[string]string{s.Flag: value}}
			}
			for name, src := range sources {
				l := newLoader(Dev)
				l.read(src)
				cfg := l.apply()
				if len(l.faults) > 0 {
					t.Errorf("%s: %v", name, l.faults)
				}
				untouched := Default(Dev)
				for _, other := range table {
					if other.get == nil {
						continue
					}
					want := other.get(untouched)
					if other.Name == s.Name {
						want = value
					}
					if got := other.get(cfg); got != want {
						t.Errorf("%s: %s is %q, want %q", name, other.Name, got, want)
					}
				}
			}
		})
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()

	src := Source{
		Environ:  env("CONFIG", "taskgate.yaml", "LOG_LEVEL", "warn", "CONCURRENCY", "3", "MAX_WAIT", "", "NAMESPACE", "first", "NAMESPACE", "last"),
		Flags:    map[string]string{"concurrency": "4", "log-format": ""},
		ReadFile: file("log_level: error\nconcurrency: 2\nmax_wait: 20s\nlog_format: text\n"),
	}
	src.Environ = append(src.Environ, required(Dispatcher)...)
	cfg := mustLoad(t, Dispatcher, src)
	if cfg.LogLevel != slog.LevelWarn {
		t.Errorf("environment must win over the file: %v", cfg.LogLevel)
	}
	if cfg.Concurrency != 4 {
		t.Errorf("a flag must win over everything: %d", cfg.Concurrency)
	}
	if cfg.MaxWait != 20*time.Second || cfg.LogFormat != LogText {
		t.Errorf("an empty value must count as not given: %v, %v", cfg.MaxWait, cfg.LogFormat)
	}
	if cfg.Namespace != "last" {
		t.Errorf("the last of equal names must win: %s", cfg.Namespace)
	}
}

func TestConfigFileByFlag(t *testing.T) {
	t.Parallel()

	cfg := mustLoad(t, Dev, Source{
		Environ:  env("CONFIG", "missing.yaml"),
		Flags:    map[string]string{"config": "taskgate.yaml"},
		ReadFile: file("data: /x\n"),
	})
	if cfg.DataDir != "/x" {
		t.Errorf("data is %q", cfg.DataDir)
	}
}

func TestFileForms(t *testing.T) {
	t.Parallel()

	cfg := mustLoad(t, Dev, Source{Environ: env("CONFIG", "taskgate.yaml"), ReadFile: file(`
egress_allow: [10.0.0.0/8, 10.9.9.9]
egress_ports: [443, 8443]
egress_resolve: {b.example: "::1", a.example: 10.0.0.1}
max_payload: 4096
keep_payload: 1KiB
pprof: true
public_url: null
`)})
	want := Default(Dev)
	want.EgressAllow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.9.9.9/32")}
	want.EgressPorts = []uint16{443, 8443}
	want.EgressResolve = map[string]netip.Addr{"a.example": netip.MustParseAddr("10.0.0.1"), "b.example": netip.IPv6Loopback()}
	want.MaxPayload, want.KeepPayload, want.Pprof = 4096, 1024, true
	if d := diff(cfg, want); d != "" {
		t.Error(d)
	}
}

// bad has for every setting a value that must be refused. The word "poison" must never be shown
// when the setting is secret.
var bad = map[string]string{
	"LISTEN": "8080", "ADMIN_LISTEN": "127.0.0.1:99999", "PUBLIC_URL": "ftp://poison", "PPROF": "poison",
	"AMQP_URL": "http://u:poison@h", "REDIS_URL": "u:poison@h", "NAMESPACE": "Tg.1",
	"AUTH": "poison", "ADMIN_KEY": "poison", "SECRET_KEY": "poison",
	"EGRESS_ALLOW": "10.0.0.0/33", "EGRESS_DENY": "10.1.2.3/8", "EGRESS_PORTS": "0", "EGRESS_RESOLVE": "host",
	"MAX_INFLIGHT": "7", "MAX_POLLS": "-1", "PROJECT_RATE": "1e6", "PROJECT_TASKS": "0", "PROJECT_BYTES": "1025GiB",
	"MAX_PAYLOAD": "9MiB", "KEEP_PAYLOAD": "-1", "CONCURRENCY": "0", "MAX_HELD_BYTES": "15MiB", "STRICT": "poison", "ALLOW_OLD_CLUSTER": "poison",
	"MAX_WAIT": "60", "MAX_DELAY": "8761h", "PUBLISH_TIMEOUT": "1ms", "SHUTDOWN_GRACE": "-1s",
	"LOG_LEVEL": "loud", "LOG_FORMAT": "xml", "ECHO": "poison",
	"TLS_KEY_FILE": "of no certificate", "TLS_CLIENT_CA_FILE": "of no certificate", "TRUSTED_PROXIES": "10.0.0.0/33",
	"AUTH_FAILURES": "-1", "OIDC_ISSUER": "http://poison.example.com", "OIDC_AUDIENCE": ",", "OIDC_ADMIN": "poison",
	"ACCESS_LOG": "poison", "METRICS_ENDPOINTS": "0", "METRICS_BACKLOG": "poison",
	"OTLP_ENDPOINT": "http://u:poison@h", "OTLP_HEADERS": "poison", "TRACE_SAMPLE": "1.5", "TRACE_CALLERS": "poison",
}

// These take any text; whoever opens them finds out.
var takesAnything = []string{"CONFIG", "DATA", "EGRESS_CA_FILE", "ENDPOINTS_FILE", "TLS_CERT_FILE", "OIDC_CA_FILE", "OIDC_PROJECT_CLAIM", "OIDC_SCOPES_CLAIM", "OIDC_SCOPES_PREFIX"}

func TestEveryFaultAtOnce(t *testing.T) {
	t.Parallel()

	src := Source{Environ: []string{"TASKGATE_UNKNOWN=poison", "TASKGATE_ADMIN_KEYS=poison", "PATH=/bin"}, Flags: map[string]string{"nothing": "poison", "": "poison"}}
	want := []string{"TASKGATE_UNKNOWN", "TASKGATE_ADMIN_KEYS", "--nothing", "--"}
	for _, s := range table {
		short := strings.TrimPrefix(s.Name, "TASKGATE_")
		value, ok := bad[short]
		if !ok {
			if !slices.Contains(takesAnything, short) {
				t.Errorf("%s has no bad value here", s.Name)
			}

			continue
		}
		src.Environ = append(src.Environ, s.Name+"="+value)
		want = append(want, s.Name)
	}
	slices.Sort(want)

	faults := faultsOf(t, Gateway, src)
	if d := cmp.Diff(names(faults), want); d != "" {
		t.Errorf("faults:\n%v\n%s", faults, d)
	}
	for _, f := range faults {
		s := slices.IndexFunc(table, func(s Setting) bool { return s.Name == f.Name })
		if (s < 0 || table[s].Secret) && strings.Contains(f.Text, "poison") {
			t.Errorf("shows a value that may be secret: %s: %s", f.Name, f.Text)
		}
		if f.Text == "" {
			t.Errorf("%s has no text", f.Name)
		}
	}
}

func TestFileFaults(t *testing.T) {
	t.Parallel()

	tests := map[string]struct {
		src  Source
		want []string
	}{
		"unknown keys": {
			Source{Environ: env("CONFIG", "taskgate.yaml"), ReadFile: file("listn: x\nTASKGATE_LISTEN: x\nconfig: other.yaml\nlog_level: loud\n")},
			[]string{"TASKGATE_LISTEN", "TASKGATE_LOG_LEVEL", "config", "listn"},
		},
		"wrong shapes": {
			Source{Environ: env("CONFIG", "taskgate.yaml"), ReadFile: file("egress_allow: [[poison]]\negress_resolve: {a: [poison]}\nadmin_key: {a: {b: poison}}\nlog_level: 2026-01-01\n")},
			[]string{"TASKGATE_ADMIN_KEY", "TASKGATE_EGRESS_ALLOW", "TASKGATE_EGRESS_RESOLVE", "TASKGATE_LOG_LEVEL"},
		},
		"no YAML":        {Source{Environ: env("CONFIG", "taskgate.yaml"), ReadFile: file("a: b\nadmin_key: *poison\n")}, []string{"TASKGATE_CONFIG"}},
		"not a mapping":  {Source{Environ: env("CONFIG", "taskgate.yaml"), ReadFile: file("poison")}, []string{"TASKGATE_CONFIG"}},
		"missing":        {Source{Environ: env("CONFIG", "missing.yaml"), ReadFile: file("")}, []string{"TASKGATE_CONFIG"}},
		"nothing can be": {Source{Environ: env("CONFIG", "taskgate.yaml")}, []string{"TASKGATE_CONFIG"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			faults := faultsOf(t, Dev, test.src)
			if d := cmp.Diff(names(faults), test.want); d != "" {
				t.Errorf("faults:\n%v\n%s", faults, d)
			}
			if strings.Contains(faults.Error(), "poison") {
				t.Errorf("quotes the file: %v", faults)
			}
		})
	}
}

func TestUnknownRole(t *testing.T) {
	t.Parallel()

	if _, err := Load("other", Source{}); err == nil {
		t.Error("loaded")
	}
	if err := (Config{}).Validate(); err == nil {
		t.Error("valid")
	}
}

func TestRoleRules(t *testing.T) {
	t.Parallel()

	tests := map[string]struct {
		role    Role
		environ []string // replaces what is required where it names the same
		want    []string
	}{
		"gateway alone":                  {Gateway, env("AMQP_URL", "", "REDIS_URL", ""), []string{"AMQP_URL", "REDIS_URL"}},
		"dispatcher without Redis":       {Dispatcher, env("REDIS_URL", ""), []string{"REDIS_URL"}},
		"second AMQP node":               {Gateway, env("AMQP_URL", amqp+",amqp://"), []string{"AMQP_URL"}},
		"serve with services":            {Serve, env("AMQP_URL", amqp, "REDIS_URL", redis), []string{"AMQP_URL", "REDIS_URL"}},
		"gateway without keys":           {Gateway, env("ADMIN_KEY", "", "SECRET_KEY", ""), []string{"ADMIN_KEY", "SECRET_KEY"}},
		"dispatcher needs no admin key":  {Dispatcher, env("ADMIN_KEY", ""), nil},
		"dispatcher without secret key":  {Dispatcher, env("SECRET_KEY", ""), []string{"SECRET_KEY"}},
		"serve without keys":             {Serve, env("ADMIN_KEY", "", "SECRET_KEY", ""), []string{"ADMIN_KEY", "SECRET_KEY"}},
		"none on loopback":               {Serve, env("AUTH", "none", "ADMIN_KEY", ""), nil},
		"none on IPv6 loopback":          {Serve, env("AUTH", "none", "ADMIN_KEY", "", "LISTEN", "[::1]:0"), nil},
		"none on localhost":              {Serve, env("AUTH", "none", "ADMIN_KEY", "", "LISTEN", "localhost:80"), nil},
		"none on every address":          {Serve, env("AUTH", "none", "LISTEN", ":8080"), []string{"LISTEN"}},
		"none on 0.0.0.0":                {Gateway, env("AUTH", "none", "LISTEN", "0.0.0.0:8080"), []string{"LISTEN"}},
		"none on a name":                 {Gateway, env("AUTH", "none", "LISTEN", "localhost.example.com:8080"), []string{"LISTEN"}},
		"none on a mapped address":       {Gateway, env("AUTH", "none", "LISTEN", "[::ffff:127.0.0.1]:8080"), nil},
		"keys on every address":          {Serve, env("LISTEN", ":8080"), nil},
		"dispatcher ignores the API's":   {Dispatcher, env("LISTEN", ":8080", "AUTH", "none"), nil},
		"dev with keys":                  {Dev, env("AUTH", "keys", "ADMIN_KEY", adminKey, "SECRET_KEY", secretKey64), nil},
		"dev with keys but no key":       {Dev, env("AUTH", "keys"), []string{"ADMIN_KEY"}},
		"dev leaves loopback":            {Dev, env("LISTEN", ":8080", "AUTH", "keys", "ADMIN_KEY", adminKey, "ADMIN_LISTEN", ":1"), []string{"ADMIN_LISTEN", "LISTEN"}},
		"dev with an echo handler":       {Dev, env("ECHO", "true"), nil},
		"serve with an echo handler":     {Serve, env("ECHO", "true"), []string{"ECHO"}},
		"short key":                      {Serve, env("ADMIN_KEY", "tg_123456789012345"), []string{"ADMIN_KEY"}},
		"key without prefix":             {Serve, env("ADMIN_KEY", "1234567890123456"), nil},
		"long key":                       {Serve, env("ADMIN_KEY", strings.Repeat("x", 257)), []string{"ADMIN_KEY"}},
		"key with a space":               {Serve, env("ADMIN_KEY", "1234567890 123456"), []string{"ADMIN_KEY"}},
		"secret key too short":           {Serve, env("SECRET_KEY", "c2hvcnQ="), []string{"SECRET_KEY"}},
		"one address twice":              {Serve, env("ADMIN_LISTEN", "127.0.0.1:8080"), []string{"ADMIN_LISTEN"}},
		"two free ports":                 {Serve, env("LISTEN", "127.0.0.1:0", "ADMIN_LISTEN", "127.0.0.1:0"), nil},
		"keep more than the largest":     {Serve, env("MAX_PAYLOAD", "1KiB", "KEEP_PAYLOAD", "2KiB"), []string{"KEEP_PAYLOAD"}},
		"keep nothing":                   {Serve, env("KEEP_PAYLOAD", "0"), nil},
		"public URL with a password":     {Serve, env("PUBLIC_URL", "https://u:p@h"), []string{"PUBLIC_URL"}},
		"public URL ends with a slash":   {Serve, env("PUBLIC_URL", "https://h/"), []string{"PUBLIC_URL"}},
		"any port":                       {Serve, env("EGRESS_PORTS", "any"), nil},
		"no port":                        {Serve, env("EGRESS_PORTS", ","), []string{"EGRESS_PORTS"}},
		"a host twice":                   {Serve, env("EGRESS_RESOLVE", "a=::1,A=::1"), []string{"EGRESS_RESOLVE"}},
		"names of tests and the client":  {Serve, env("TEST_AMQP_URL", "x", "REQUIRE_SERVICES", "1", "URL", "x", "KEY", "x", "KEY_FILE", "x", "CA_FILE", "x", "PROJECT", "x"), nil},
		"names that Kubernetes puts in":  {Serve, env("SERVICE_HOST", "1", "GATEWAY_SERVICE_PORT_HTTP", "1", "PORT", "tcp://1:2", "PORT_80_TCP_ADDR", "1", "PORT_80_TCP_PORT", "1", "PORT_80_TCP", "tcp://1:80"), nil},
		"what only looks like that":      {Serve, env("EGRESS_PORT", "443"), []string{"EGRESS_PORT"}},
		"a name in lower case is no one": {Serve, []string{"TASKGATE_listen=x"}, []string{"listen"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			src := Source{Environ: append(required(test.role), test.environ...)}
			if test.want == nil {
				mustLoad(t, test.role, src)

				return
			}
			faults := faultsOf(t, test.role, src)
			var want []string
			for _, name := range test.want {
				want = append(want, "TASKGATE_"+name)
			}
			if d := cmp.Diff(names(faults), want); d != "" {
				t.Errorf("faults:\n%v\n%s", faults, d)
			}
		})
	}
}

// A Config can also be a literal, as the tests of other packages make them.
func TestValidateLiteral(t *testing.T) {
	t.Parallel()

	tests := map[string]struct {
		change func(*Config)
		name   string
	}{
		"old key":     {func(c *Config) { c.SecretKey, c.OldSecretKeys = make([]byte, 32), [][]byte{make([]byte, 32)} }, "TASKGATE_SECRET_KEY"},
		"half a pair": {func(c *Config) { c.TLSCertFile = "cert.pem" }, "TASKGATE_TLS_KEY_FILE"},
		"public URL":  {func(c *Config) { c.TLSCertFile, c.TLSKeyFile, c.PublicURL = "c", "k", "http://a" }, "TASKGATE_PUBLIC_URL"},
		"no audience": {func(c *Config) { c.Auth, c.AdminKey, c.OIDCIssuer = AuthKeys, adminKey, "https://login.example.com" }, "TASKGATE_OIDC_AUDIENCE"},
		"no keys":     {func(c *Config) { c.OIDCIssuer, c.OIDCAudience = "http://127.0.0.1:1", []string{"a"} }, "TASKGATE_OIDC_ISSUER"},
		"secret key":  {func(c *Config) { c.SecretKey = []byte("short") }, "TASKGATE_SECRET_KEY"},
		"ports":       {func(c *Config) { c.EgressPorts = []uint16{} }, "TASKGATE_EGRESS_PORTS"},
		"address":     {func(c *Config) { c.EgressResolve = map[string]netip.Addr{"a": {}} }, "TASKGATE_EGRESS_RESOLVE"},
		"auth":        {func(c *Config) { c.Auth = "" }, "TASKGATE_AUTH"},
		"data folder": {func(c *Config) { c.DataDir = "" }, "TASKGATE_DATA"},
		"format":      {func(c *Config) { c.LogFormat = "" }, "TASKGATE_LOG_FORMAT"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			cfg := Default(Dev)
			if err := cfg.Validate(); err != nil {
				t.Fatal(err)
			}
			test.change(&cfg)
			var faults Faults
			if err := cfg.Validate(); !errors.As(err, &faults) || len(faults) != 1 || faults[0].Name != test.name {
				t.Errorf("error %v, want one fault of %s", err, test.name)
			}
		})
	}
}

// The first of several secret keys seals, the others open.
func TestSecretKeys(t *testing.T) {
	t.Parallel()

	older := base64.StdEncoding.EncodeToString([]byte("vutsrqponmlkjihgfedcba9876543210"))
	cfg := mustLoad(t, Serve, Source{Environ: append(required(Serve), "TASKGATE_SECRET_KEY="+secretKey64+", "+older+",")})
	if string(cfg.SecretKey) != "0123456789abcdefghijklmnopqrstuv" || len(cfg.OldSecretKeys) != 1 || string(cfg.OldSecretKeys[0]) != "vutsrqponmlkjihgfedcba9876543210" {
		t.Errorf("got %q and %q", cfg.SecretKey, cfg.OldSecretKeys)
	}
	for value, want := range map[string]string{
		secretKey64 + ",poison": "entry 2: want 32 bytes", secretKey64 + "," + secretKey64: "once", ",": "is required",
	} {
		faults := faultsOf(t, Serve, Source{Environ: append(required(Serve), "TASKGATE_SECRET_KEY="+value)})
		if len(faults) != 1 || !strings.Contains(faults[0].Text, want) || strings.Contains(faults[0].Text, "poison") {
			t.Errorf("faults %v, want %s", faults, want)
		}
	}
}

func TestSettingsTable(t *testing.T) {
	t.Parallel()

	seen := map[string]bool{}
	for _, s := range Settings() {
		if seen[s.Name] || !strings.HasPrefix(s.Name, "TASKGATE_") {
			t.Errorf("name %s", s.Name)
		}
		seen[s.Name] = true
		if s.Secret != (s.Flag == "") {
			t.Errorf("%s: secret %v with flag %q", s.Name, s.Secret, s.Flag)
		}
		if s.Help == "" || len(s.Roles) == 0 || strings.ContainsAny(s.Help, "|\n") {
			t.Errorf("%s: help %q, roles %v", s.Name, s.Help, s.Roles)
		}
	}
	if unused := slices.DeleteFunc(slices.Collect(maps.Keys(samples)), func(n string) bool { return seen["TASKGATE_"+n] }); len(unused) > 0 {
		t.Errorf("samples of no setting: %v", unused)
	}
}
