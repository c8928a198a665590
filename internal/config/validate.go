package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	minAdminKey = 16
	maxAdminKey = 256

	minPayload = 1 << 10
	// RabbitMQ 4 refuses messages over 16 MiB: this leaves room for the envelope.
	maxPayload = 8 << 20
	// A consumer's prefetch is 16 bits on the wire.
	maxConcurrency = 1<<16 - 1

	maxAuthFailures = 1_000_000

	minInflight = 8
	maxPolls    = 1_000_000
	minRate     = 0.01
	maxRate     = 100_000
	maxTasks    = 1_000_000_000
	// Two of the largest payloads, or the largest messages make no progress side by side.
	minHeld = 2 * maxPayload
)

// Validate returns a [Faults] with everything that is wrong, or nil.
func (c Config) Validate() error {
	if faults := c.faults(); len(faults) > 0 {
		return faults
	}

	return nil
}

func (c Config) faults() Faults {
	v := validator{Config: c}
	if !slices.Contains(Roles(), c.Role) {
		v.faultf("role", "unknown")

		return v.found
	}
	v.addresses()
	v.backends()
	v.access()
	v.tls()
	v.oidc()
	v.egress()
	v.limits()
	v.logs()
	v.seen()

	return v.found
}

type validator struct {
	Config

	found Faults
}

func (v *validator) faultf(name, format string, args ...any) {
	if !strings.HasPrefix(name, "role") {
		name = envPrefix + name
	}
	v.found = append(v.found, Fault{Name: name, Text: fmt.Sprintf(format, args...)})
}

func (v *validator) addresses() {
	if v.Role.servesAPI() {
		v.address("LISTEN", v.Listen)
	}
	v.address("ADMIN_LISTEN", v.AdminListen)
	if v.Role.servesAPI() && v.Listen == v.AdminListen && !strings.HasSuffix(v.Listen, ":0") {
		v.faultf("ADMIN_LISTEN", "is the address of TASKGATE_LISTEN")
	}
	if v.Role == Dev {
		v.loopbackOnly("ADMIN_LISTEN", v.AdminListen, "taskgate dev (taskgate serve is for everything else)")
	}
	if v.PublicURL != "" {
		v.publicURL()
	}
}

func (v *validator) address(name, address string) {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		v.faultf(name, "%q: want host:port", address)
	}
}

func (v *validator) loopbackOnly(name, address, why string) {
	if _, _, err := net.SplitHostPort(address); err == nil && !loopback(address) {
		v.faultf(name, "%q is not a loopback address, which is all that goes with %s", address, why)
	}
}

// loopback takes nothing on trust: of names only localhost, and an empty host is every address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)

	return err == nil && ip.Unmap().IsLoopback()
}

func (v *validator) publicURL() {
	u, err := url.Parse(v.PublicURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		v.faultf("PUBLIC_URL", `want a URL such as "https://tasks.example.com"`)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		v.faultf("PUBLIC_URL", "must not have user, query or fragment")
	case strings.HasSuffix(v.PublicURL, "/"):
		v.faultf("PUBLIC_URL", "must not end with a slash")
	}
}

var namespaceShape = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

func (v *validator) backends() {
	if v.Role.Embedded() {
		if len(v.AMQPURLs) > 0 {
			v.faultf("AMQP_URL", "taskgate %s keeps its tasks in the embedded store; gateway and dispatcher use RabbitMQ", v.Role)
		}
		if v.RedisURL != "" {
			v.faultf("REDIS_URL", "taskgate %s keeps its tasks in the embedded store; gateway and dispatcher use Redis", v.Role)
		}
		if v.DataDir == "" {
			v.faultf("DATA", "is required")
		}

		return
	}

	if len(v.AMQPURLs) == 0 {
		v.faultf("AMQP_URL", "is required: %s alone cannot run on the embedded store (taskgate dev or serve can)", v.Role)
	}
	for i, raw := range v.AMQPURLs {
		v.serverURL("AMQP_URL", fmt.Sprintf("URL %d: ", i+1), raw, "amqp", "amqps")
	}
	if v.RedisURL == "" {
		v.faultf("REDIS_URL", "is required: %s alone cannot run on the embedded store (taskgate dev or serve can)", v.Role)
	} else {
		v.serverURL("REDIS_URL", "", v.RedisURL, "redis", "rediss")
	}
	if !namespaceShape.MatchString(v.Namespace) {
		v.faultf("NAMESPACE", "%q: want 1 to 32 of a-z, 0-9 and -, with no - at its ends", v.Namespace)
	}
}

// serverURL says nothing of the URL itself: it holds a password.
func (v *validator) serverURL(name, which, raw string, schemes ...string) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
		v.faultf(name, "%swant %s://user:password@host:port", which, strings.Join(schemes, ":// or "))
	}
}

func (v *validator) access() {
	if v.Role != Dev && v.SecretKey == nil {
		v.faultf("SECRET_KEY", "is required: %d bytes in base64 (openssl rand -base64 %d makes them)", keyBytes, keyBytes)
	} else if v.SecretKey != nil && len(v.SecretKey) != keyBytes {
		v.faultf("SECRET_KEY", "want %d bytes", keyBytes)
	}
	seen := map[string]bool{string(v.SecretKey): true}
	for _, key := range v.OldSecretKeys {
		if len(key) != keyBytes || seen[string(key)] {
			v.faultf("SECRET_KEY", "each key must have %d bytes and be there once", keyBytes)
		}
		seen[string(key)] = true
	}
	if !v.Role.servesAPI() {
		return
	}

	if v.Role == Dev {
		v.loopbackOnly("LISTEN", v.Listen, "taskgate dev (taskgate serve is for everything else)")
	}
	switch v.Auth {
	case AuthNone:
		if v.Role != Dev {
			v.loopbackOnly("LISTEN", v.Listen, "TASKGATE_AUTH=none")
		}
	case AuthKeys:
		v.adminKey()
	default:
		v.faultf("AUTH", `want "keys" or "none"`)
	}
}

func (v *validator) adminKey() {
	random := strings.TrimPrefix(v.AdminKey, "tg_")
	unsendable := func(r rune) bool { return r <= ' ' || r > '~' }
	switch {
	case v.AdminKey == "":
		v.faultf("ADMIN_KEY", "is required with TASKGATE_AUTH=keys")
	case len(random) < minAdminKey:
		v.faultf("ADMIN_KEY", "is too short: want at least %d characters after an optional tg_", minAdminKey)
	case len(v.AdminKey) > maxAdminKey:
		v.faultf("ADMIN_KEY", "is too long: want at most %d characters", maxAdminKey)
	case strings.ContainsFunc(v.AdminKey, unsendable):
		v.faultf("ADMIN_KEY", "has characters that a header cannot carry: want printable ASCII without spaces")
	}
}

func (v *validator) tls() {
	if v.TLSCertFile != "" && v.TLSKeyFile == "" {
		v.faultf("TLS_KEY_FILE", "is required with TASKGATE_TLS_CERT_FILE")
	}
	if v.TLSCertFile == "" {
		v.useless("TASKGATE_TLS_CERT_FILE", map[string]bool{"TLS_KEY_FILE": v.TLSKeyFile != "", "TLS_CLIENT_CA_FILE": v.TLSClientCAFile != ""})
	}
	if v.TLSCertFile != "" && strings.HasPrefix(v.PublicURL, "http://") {
		v.faultf("PUBLIC_URL", "must be https: with TASKGATE_TLS_CERT_FILE the API does not speak HTTP")
	}
}

// useless refuses what was given and has no meaning without another setting.
func (v *validator) useless(without string, given map[string]bool) {
	for _, name := range sortedKeys(given) {
		if given[name] {
			v.faultf(name, "is of no use without %s", without)
		}
	}
}

func (v *validator) oidc() {
	if v.OIDCIssuer == "" {
		v.useless("TASKGATE_OIDC_ISSUER", map[string]bool{
			"OIDC_AUDIENCE": len(v.OIDCAudience) > 0, "OIDC_CA_FILE": v.OIDCCAFile != "",
			"OIDC_SCOPES_PREFIX": v.OIDCScopesPrefix != "", "OIDC_ADMIN": v.OIDCAdmin,
		})

		return
	}
	if v.Auth == AuthNone {
		v.faultf("OIDC_ISSUER", "is of no use with TASKGATE_AUTH=none")
	}
	u, err := url.Parse(v.OIDCIssuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		u.Scheme != "https" && (u.Scheme != "http" || !loopback(net.JoinHostPort(u.Hostname(), "1"))) {
		v.faultf("OIDC_ISSUER", `want a URL such as "https://login.example.com"; without TLS only on a loopback address`)
	}
	if len(v.OIDCAudience) == 0 {
		v.faultf("OIDC_AUDIENCE", "is required with TASKGATE_OIDC_ISSUER: without it, tokens for other services would open this one")
	}
	if v.OIDCProjectClaim == "" {
		v.faultf("OIDC_PROJECT_CLAIM", "is required with TASKGATE_OIDC_ISSUER")
	}
	if v.OIDCScopesClaim == "" {
		v.faultf("OIDC_SCOPES_CLAIM", "is required with TASKGATE_OIDC_ISSUER")
	}
}

func (v *validator) egress() {
	if v.EgressPorts != nil && len(v.EgressPorts) == 0 {
		v.faultf("EGRESS_PORTS", "allows no port")
	}
	for _, host := range sortedKeys(v.EgressResolve) {
		if !v.EgressResolve[host].IsValid() {
			v.faultf("EGRESS_RESOLVE", "%q has no address", host)
		}
	}
}

func (v *validator) limits() {
	between(v, "MAX_PAYLOAD", v.MaxPayload, minPayload, maxPayload, formatBytes)
	between(v, "KEEP_PAYLOAD", v.KeepPayload, 0, maxPayload, formatBytes)
	between(v, "AUTH_FAILURES", v.AuthFailures, 0, maxAuthFailures, strconv.Itoa)
	between(v, "CONCURRENCY", v.Concurrency, 1, maxConcurrency, strconv.Itoa)
	between(v, "MAX_HELD_BYTES", v.MaxHeldBytes, minHeld, maxBytes, formatBytes)
	between(v, "MAX_WAIT", v.MaxWait, time.Second, 10*time.Minute, time.Duration.String)
	between(v, "MAX_DELAY", v.MaxDelay, time.Second, 365*24*time.Hour, time.Duration.String)
	between(v, "PUBLISH_TIMEOUT", v.PublishTimeout, 100*time.Millisecond, 5*time.Minute, time.Duration.String)
	between(v, "SHUTDOWN_GRACE", v.ShutdownGrace, 100*time.Millisecond, time.Hour, time.Duration.String)
	v.admission()
	if v.KeepPayload > v.MaxPayload && v.KeepPayload <= maxPayload {
		v.faultf("KEEP_PAYLOAD", "is more than TASKGATE_MAX_PAYLOAD")
	}
}

func (v *validator) admission() {
	between(v, "MAX_INFLIGHT", v.MaxInflight, minInflight, maxConcurrency, strconv.Itoa)
	between(v, "MAX_POLLS", v.MaxPolls, 0, maxPolls, strconv.Itoa)
	if v.ProjectRate != 0 && (v.ProjectRate < minRate || v.ProjectRate > maxRate) {
		v.faultf("PROJECT_RATE", "%g: want 0, or from %g to %d", v.ProjectRate, minRate, maxRate)
	}
	between(v, "PROJECT_TASKS", v.ProjectTasks, 1, maxTasks, func(n int64) string { return strconv.FormatInt(n, 10) })
	between(v, "PROJECT_BYTES", v.ProjectBytes, minPayload, maxManyBytes, func(n int64) string { return formatBytes(int(n)) })
}

func between[T int | int64 | time.Duration](v *validator, name string, value, low, high T, format func(T) string) {
	if value < low || value > high {
		v.faultf(name, "%s: want from %s to %s", format(value), format(low), format(high))
	}
}

func (v *validator) logs() {
	if v.LogFormat != LogJSON && v.LogFormat != LogText {
		v.faultf("LOG_FORMAT", `want "json" or "text"`)
	}
	if v.Echo && v.Role != Dev {
		v.faultf("ECHO", "only taskgate dev has an echo handler")
	}
}
