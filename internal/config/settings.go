package config

import (
	"slices"
	"strconv"
	"strings"
)

// Setting describes one setting, for flags and for the documentation.
type Setting struct {
	Name    string // in the environment
	Flag    string // without dashes; "" for a secret, since a command line is visible to everyone
	Key     string // in the file
	Default string // "" means none
	Help    string // one line of Markdown
	Secret  bool
	Bool    bool   // the flag may stand without a value
	Roles   []Role // that look at it

	byRole map[Role]string // defaults that differ
	set    func(*Config, string) error
	get    func(Config) string // the inverse of set
}

// DefaultFor returns the default of a role; "" means none.
func (s Setting) DefaultFor(role Role) string {
	if value, ok := s.byRole[role]; ok {
		return value
	}

	return s.Default
}

// Settings returns every setting, in the order of the documentation.
func Settings() []Setting { return slices.Clone(table) }

// envPrefix is what every name of ours begins with.
const envPrefix = "TASKGATE_"

const nameConfig = envPrefix + "CONFIG"

var (
	servers  = []Role{Gateway, Dispatcher}
	embedded = []Role{Serve, Dev}
	withAPI  = []Role{Gateway, Serve, Dev}
	senders  = []Role{Dispatcher, Serve, Dev}
)

// table is the only list of settings; names, flags and keys are derived from each other.
var table = build([]Setting{
	{
		Name: nameConfig, Roles: Roles(),
		Help: "YAML file with settings; its keys are these names in lower case without `TASKGATE_`",
	},
	text("LISTEN", withAPI, "127.0.0.1:8080", "address of the API",
		func(c *Config) *string { return &c.Listen }),
	adminListen(),
	text("PUBLIC_URL", withAPI, "", "base of the URLs shown to people and given to others; from the listener when not set",
		func(c *Config) *string { return &c.PublicURL }),
	text("TLS_CERT_FILE", withAPI, "", "certificate of the API with its chain (PEM), which then speaks HTTPS only; read again when it changes and on SIGHUP",
		func(c *Config) *string { return &c.TLSCertFile }),
	text("TLS_KEY_FILE", withAPI, "", "private key of that certificate (PEM)",
		func(c *Config) *string { return &c.TLSKeyFile }),
	text("TLS_CLIENT_CA_FILE", withAPI, "", "certificate authorities (PEM) of which every caller of the API must have a certificate, besides its key",
		func(c *Config) *string { return &c.TLSClientCAFile }),
	forAPI(list("TRUSTED_PROXIES", "proxies (CIDRs) whose `X-Forwarded-For` is believed; the client is the last address in it that is none of them",
		parsePrefix, func(c *Config) *prefixes { return &c.TrustedProxies })),
	boolean("PPROF", Roles(), "serve `/debug/pprof/` on the admin address",
		func(c *Config) *bool { return &c.Pprof }),
	amqpURL(),
	secret(text("REDIS_URL", servers, "", "Redis 7.0 or later: `redis://` or `rediss://`, of one server or, with `?master_name=`, of Sentinels; required",
		func(c *Config) *string { return &c.RedisURL })),
	text("DATA", embedded, "./taskgate-data", "folder of the embedded store",
		func(c *Config) *string { return &c.DataDir }),
	text("NAMESPACE", servers, "tg", "in front of every queue, exchange and key, so that installations can share servers",
		func(c *Config) *string { return &c.Namespace }),
	boolean("STRICT", servers, "refuse to start where RabbitMQ or Redis is set up in a way that is otherwise a warning",
		func(c *Config) *bool { return &c.Strict }),
	boolean("ALLOW_OLD_CLUSTER", servers, "start with several nodes of a RabbitMQ before 3.12.5, whose clusters hold up delayed tasks when a node dies",
		func(c *Config) *bool { return &c.AllowOldCluster }),
	auth(),
	secret(text("ADMIN_KEY", withAPI, "", "bootstrap API key with scope admin: at least 16 characters after an optional `tg_`; required with `TASKGATE_AUTH=keys`",
		func(c *Config) *string { return &c.AdminKey })),
	secretKey(),
	{
		Name: "AUTH_FAILURES", Roles: withAPI, Default: "50",
		Help: "failed authentications that an address has free, before it is slowed (429); `0`: it never is",
		set:  func(c *Config, v string) (err error) { c.AuthFailures, err = parseInt(v); return err },
		get:  func(c Config) string { return strconv.Itoa(c.AuthFailures) },
	},
	text("OIDC_ISSUER", withAPI, "", "URL of an OpenID Connect issuer whose JWTs are taken as bearer tokens beside keys",
		func(c *Config) *string { return &c.OIDCIssuer }),
	{
		Name: "OIDC_AUDIENCE", Roles: withAPI, Help: "audiences (separated by commas), of which a token must have one; required with `TASKGATE_OIDC_ISSUER`",
		set: func(c *Config, v string) error { c.OIDCAudience = split(v); return nil },
		get: func(c Config) string { return strings.Join(c.OIDCAudience, ",") },
	},
	text("OIDC_CA_FILE", withAPI, "", "certificate authorities to trust with the issuer besides the system's (PEM)",
		func(c *Config) *string { return &c.OIDCCAFile }),
	text("OIDC_PROJECT_CLAIM", withAPI, "taskgate_project", "claim with the project: its name, or a path with dots",
		func(c *Config) *string { return &c.OIDCProjectClaim }),
	text("OIDC_SCOPES_CLAIM", withAPI, "scope", "claim with the scopes, separated by spaces or as an array: its name, or a path with dots",
		func(c *Config) *string { return &c.OIDCScopesClaim }),
	text("OIDC_SCOPES_PREFIX", withAPI, "", "what stands before our scopes in the claim, as in `taskgate:tasks:read`; all others are passed over",
		func(c *Config) *string { return &c.OIDCScopesPrefix }),
	boolean("OIDC_ADMIN", withAPI, "take the scope admin from tokens too",
		func(c *Config) *bool { return &c.OIDCAdmin }),
	text("ENDPOINTS_FILE", withAPI, "", "YAML file with endpoints and projects that the API then shows read-only; read again on SIGHUP",
		func(c *Config) *string { return &c.EndpointsFile }),
	withDefault(list("EGRESS_ALLOW", "networks that may be called although they are not public (CIDRs)",
		parsePrefix, func(c *Config) *prefixes { return &c.EgressAllow }), Dev, "127.0.0.0/8,::1/128"),
	list("EGRESS_DENY", "networks that must not be called (CIDRs); wins over the allow list",
		parsePrefix, func(c *Config) *prefixes { return &c.EgressDeny }),
	egressPorts(),
	egressResolve(),
	text("EGRESS_CA_FILE", senders, "", "certificate authorities to trust besides the system's (PEM)",
		func(c *Config) *string { return &c.EgressCAFile }),
	size("MAX_PAYLOAD", withAPI, "1MiB", "largest payload of a task, at most 8MiB",
		func(c *Config) *int { return &c.MaxPayload }),
	size("KEEP_PAYLOAD", Roles(), "16KiB", "largest payload kept beside the record of a task, for a later replay",
		func(c *Config) *int { return &c.KeepPayload }),
	concurrency(),
	count("MAX_INFLIGHT", withAPI, "256", "requests to the API that are worked at the same time, 8 to 65535; more wait for a moment, and are then refused with 503",
		func(c *Config) *int { return &c.MaxInflight }),
	count("MAX_POLLS", withAPI, "0", "long-polls at the same time; more are refused with 503. 0: as many as the limit of open files leaves room for",
		func(c *Config) *int { return &c.MaxPolls }),
	projectRate(),
	count("PROJECT_TASKS", Roles(), "2000000", "tasks that have not ended of a project without a quota of its own",
		func(c *Config) *int64 { return &c.ProjectTasks }),
	projectBytes(),
	size("MAX_HELD_BYTES", senders, "64MiB",
		"how much of the payloads of tasks in hand one process holds, and as much of answers; at least 16MiB. One payload of each busy endpoint is held beyond it",
		func(c *Config) *int { return &c.MaxHeldBytes }),
	duration("MAX_WAIT", withAPI, "60s", "longest long-poll",
		func(c *Config) *durationOf { return &c.MaxWait }),
	duration("MAX_DELAY", withAPI, "8760h", "furthest start of a task, at most 8760h",
		func(c *Config) *durationOf { return &c.MaxDelay }),
	duration("PUBLISH_TIMEOUT", Roles(), "10s", "longest wait for a task to be stored",
		func(c *Config) *durationOf { return &c.PublishTimeout }),
	duration("SHUTDOWN_GRACE", Roles(), "30s", "drain time after the first signal",
		func(c *Config) *durationOf { return &c.ShutdownGrace }),
	logLevel(),
	logFormat(),
	boolean("ACCESS_LOG", withAPI, "write a log line at level info for every request to the API; without it at level debug",
		func(c *Config) *bool { return &c.AccessLog }),
	otlpEndpoint(),
	otlpHeaders(),
	traceSample(),
	traceCallers(),
	metricsEndpoints(),
	metricsBacklog(),
	boolean("ECHO", []Role{Dev}, "run a built-in handler that answers with what it gets",
		func(c *Config) *bool { return &c.Echo }),
})

func build(settings []Setting) []Setting {
	for i := range settings {
		s := &settings[i]
		if !strings.HasPrefix(s.Name, envPrefix) {
			s.Name = envPrefix + s.Name
		}
		s.Key = strings.ToLower(strings.TrimPrefix(s.Name, envPrefix))
		if !s.Secret {
			s.Flag = strings.ReplaceAll(s.Key, "_", "-")
		}
	}

	return settings
}

func secret(s Setting) Setting {
	s.Secret = true

	return s
}

func forAPI(s Setting) Setting {
	s.Roles = withAPI

	return s
}

func withDefault(s Setting, role Role, value string) Setting {
	s.byRole = map[Role]string{role: value}

	return s
}

func text(name string, roles []Role, def, help string, field func(*Config) *string) Setting {
	return Setting{
		Name: name, Roles: roles, Default: def, Help: help,
		set: func(c *Config, v string) error { *field(c) = v; return nil },
		get: func(c Config) string { return *field(&c) },
	}
}

func boolean(name string, roles []Role, help string, field func(*Config) *bool) Setting {
	return Setting{
		Name: name, Roles: roles, Default: "false", Help: help, Bool: true,
		set: func(c *Config, v string) (err error) { *field(c), err = parseBool(v); return err },
		get: func(c Config) string { return strconv.FormatBool(*field(&c)) },
	}
}

func size(name string, roles []Role, def, help string, field func(*Config) *int) Setting {
	return Setting{
		Name: name, Roles: roles, Default: def, Help: help,
		set: func(c *Config, v string) (err error) { *field(c), err = parseBytes(v); return err },
		get: func(c Config) string { return formatBytes(*field(&c)) },
	}
}

func duration(name string, roles []Role, def, help string, field func(*Config) *durationOf) Setting {
	return Setting{
		Name: name, Roles: roles, Default: def, Help: help,
		set: func(c *Config, v string) (err error) { *field(c), err = parseDuration(v); return err },
		get: func(c Config) string { return field(&c).String() },
	}
}

func list(name, help string, parse func(string) (prefixOf, error), field func(*Config) *prefixes) Setting {
	return Setting{
		Name: name, Roles: Roles(), Help: help,
		set: func(c *Config, v string) (err error) { *field(c), err = parseList(v, parse); return err },
		get: func(c Config) string { return join(*field(&c), prefixOf.String) },
	}
}

func adminListen() Setting {
	s := text("ADMIN_LISTEN", Roles(), "127.0.0.1:9091", "address of `/livez`, `/readyz` and `/metrics`",
		func(c *Config) *string { return &c.AdminListen })

	return withDefault(s, Dispatcher, "127.0.0.1:9092")
}

func amqpURL() Setting {
	return Setting{
		Name: "AMQP_URL", Roles: servers, Secret: true,
		Help: "RabbitMQ 3.10 or later: `amqp://` or `amqps://`, several nodes separated by commas; required",
		set:  func(c *Config, v string) error { c.AMQPURLs = split(v); return nil },
		get:  func(c Config) string { return strings.Join(c.AMQPURLs, ",") },
	}
}

func auth() Setting {
	s := Setting{
		Name: "AUTH", Roles: withAPI, Default: string(AuthKeys),
		Help: "`keys`, or `none`: everyone is admin, only with a loopback listener",
		set: func(c *Config, v string) (err error) {
			c.Auth, err = parseOneOf(v, AuthKeys, AuthNone)

			return err
		},
		get: func(c Config) string { return string(c.Auth) },
	}

	return withDefault(s, Dev, string(AuthNone))
}

func secretKey() Setting {
	return Setting{
		Name: "SECRET_KEY", Roles: Roles(), Secret: true,
		Help: "32 bytes in base64 that encrypt stored secrets; after a comma older ones that still open them; required, except by `dev`, which generates one into its data folder",
		set:  setSecretKeys, get: getSecretKeys,
	}
}

func setSecretKeys(c *Config, v string) error {
	if !strings.Contains(v, ",") { // of one it goes without saying which
		key, err := parseKey(v)
		c.SecretKey = key

		return err
	}
	keys, err := parseList(v, parseKey)
	if err != nil {
		return err
	}
	if len(keys) > 0 {
		c.SecretKey, c.OldSecretKeys = keys[0], keys[1:]
	}

	return nil
}

func getSecretKeys(c Config) string {
	if c.SecretKey == nil {
		return ""
	}

	return join(append([][]byte{c.SecretKey}, c.OldSecretKeys...), formatKey)
}

func egressPorts() Setting {
	s := Setting{
		Name: "EGRESS_PORTS", Roles: Roles(), Default: "80,443", Help: "ports that may be called, or `any`",
		set: func(c *Config, v string) (err error) { c.EgressPorts, err = parsePorts(v); return err },
		get: func(c Config) string { return formatPorts(c.EgressPorts) },
	}

	return withDefault(s, Dev, anyPort)
}

func egressResolve() Setting {
	return Setting{
		Name: "EGRESS_RESOLVE", Roles: Roles(), Help: "addresses of hosts instead of DNS: `host=ip,…`",
		set: func(c *Config, v string) (err error) { c.EgressResolve, err = parseHosts(v); return err },
		get: func(c Config) string { return formatHosts(c.EgressResolve) },
	}
}

func count[T int | int64](name string, roles []Role, def, help string, field func(*Config) *T) Setting {
	return Setting{
		Name: name, Roles: roles, Default: def, Help: help,
		set: func(c *Config, v string) error {
			n, err := parseInt(v)
			*field(c) = T(n)

			return err
		},
		get: func(c Config) string { return strconv.FormatInt(int64(*field(&c)), 10) },
	}
}

func projectRate() Setting {
	return Setting{
		Name: "PROJECT_RATE", Roles: withAPI, Default: "0",
		Help: "tasks a second, over all gateways, that a project without a quota of its own may submit or replay; 0: any number",
		set:  func(c *Config, v string) (err error) { c.ProjectRate, err = parseNumber(v); return err },
		get:  func(c Config) string { return strconv.FormatFloat(c.ProjectRate, 'g', -1, 64) },
	}
}

func projectBytes() Setting {
	return Setting{
		Name: "PROJECT_BYTES", Roles: Roles(), Default: "8GiB",
		Help: "bytes of payloads of tasks that have not ended, and of failed ones, of a project without a quota of its own; at most 1024GiB",
		set:  func(c *Config, v string) (err error) { c.ProjectBytes, err = parseManyBytes(v); return err },
		get:  func(c Config) string { return formatBytes(int(c.ProjectBytes)) },
	}
}

func concurrency() Setting {
	return Setting{
		Name: "CONCURRENCY", Roles: senders, Default: "256", Help: "attempts at the same time in one process, at most 65535",
		set: func(c *Config, v string) (err error) { c.Concurrency, err = parseInt(v); return err },
		get: func(c Config) string { return strconv.Itoa(c.Concurrency) },
	}
}

func logLevel() Setting {
	return Setting{
		Name: "LOG_LEVEL", Roles: Roles(), Default: "info", Help: "`debug`, `info`, `warn` or `error`",
		set: func(c *Config, v string) (err error) { c.LogLevel, err = parseLevel(v); return err },
		get: func(c Config) string { return strings.ToLower(c.LogLevel.String()) },
	}
}

func logFormat() Setting {
	return Setting{
		Name: "LOG_FORMAT", Roles: Roles(), Default: string(LogJSON), Help: "`json` or `text`",
		set: func(c *Config, v string) (err error) {
			c.LogFormat, err = parseOneOf(v, LogJSON, LogText)

			return err
		},
		get: func(c Config) string { return string(c.LogFormat) },
	}
}
