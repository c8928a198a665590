package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// Source is where settings come from. Nothing else is looked at.
type Source struct {
	Environ  []string                     // as os.Environ: the last of equal names counts
	Flags    map[string]string            // by [Setting.Flag], only those that were given
	ReadFile func(string) ([]byte, error) // as os.ReadFile; nil means that no file can be read
}

// Load builds the configuration of a role: defaults < file < environment < flags. An empty value
// counts as not given. The error, if any, is a [Faults] with every fault at once.
func Load(role Role, src Source) (Config, error) {
	l := newLoader(role)
	if !slices.Contains(Roles(), role) {
		l.faultf("role", "unknown")

		return Config{}, l.faults
	}
	l.read(src)

	cfg := l.apply()
	for _, fault := range cfg.faults() {
		// The first fault of a setting explains what its consequences would only blur.
		if !l.faults.has(fault.Name) {
			l.faults = append(l.faults, fault)
		}
	}
	if len(l.faults) > 0 {
		return Config{}, l.faults
	}

	return cfg, nil
}

// loader collects values and faults. Keys are those of the file.
type loader struct {
	role   Role
	values *koanf.Koanf
	origin map[string]string // which layer a value came from
	faults Faults
}

func newLoader(role Role) *loader {
	// No key has the delimiter: the settings are flat.
	return &loader{role: role, values: koanf.New("\x00"), origin: map[string]string{}}
}

func (l *loader) read(src Source) {
	environ := l.environment(src.Environ)
	flags := l.flags(src.Flags)
	l.layer("file", l.file(src.ReadFile, environ, flags))
	l.layer("environment", environ)
	l.layer("flag", flags)
}

func (l *loader) faultf(name, format string, args ...any) {
	l.faults = append(l.faults, Fault{Name: name, Text: fmt.Sprintf(format, args...)})
}

func (l *loader) layer(origin string, values map[string]any) {
	for key := range values {
		l.origin[key] = origin
	}
	// A map of strings that is merged into another cannot fail.
	if err := l.values.Load(confmap.Provider(values, ""), nil); err != nil {
		l.faultf(nameConfig, "%s: %v", origin, err)
	}
}

func (l *loader) apply() Config {
	cfg := Default(l.role)
	for _, s := range table {
		value := l.values.String(s.Key)
		if value == "" || s.set == nil {
			continue
		}
		// A value that is refused leaves the default, and nothing half set.
		next := cfg
		err := s.set(&next, value)
		if err == nil {
			cfg = next
		} else {
			shown := ""
			if !s.Secret {
				shown = fmt.Sprintf("%q: ", value)
			}
			l.faultf(s.Name, "(%s) %s%v", l.origin[s.Key], shown, err)
		}
	}

	return cfg
}

func (l *loader) environment(environ []string) map[string]any {
	values := map[string]any{}
	unknown := map[string]bool{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		at := slices.IndexFunc(table, func(s Setting) bool { return s.Name == name })
		switch {
		case at >= 0 && value != "":
			values[table[at].Key] = value
		case at >= 0:
			delete(values, table[at].Key)
		case !foreign(name, value):
			unknown[name] = true
		}
	}
	l.unknown(unknown, "(environment) unknown setting")

	return values
}

// notSettings are names of the command line client and of the tests: they may well be in the
// environment of a server.
var notSettings = []string{
	"TASKGATE_URL", "TASKGATE_KEY", "TASKGATE_KEY_FILE", "TASKGATE_CA_FILE", "TASKGATE_PROJECT",
	"TASKGATE_REQUIRE_SERVICES", "TASKGATE_SOAK", "TASKGATE_WEBHOOK_EXAMPLES",
	"TASKGATE_SERVICES_DIR", "TASKGATE_SERVICES_FROM", "TASKGATE_SERVICES_STATE",
}

// Kubernetes puts these into every pod beside a Service named taskgate, or taskgate and more.
var (
	serviceName = regexp.MustCompile(`^TASKGATE_(\w+_)?SERVICE_(HOST|PORT(_\w+)?)$`)
	portName    = regexp.MustCompile(`^TASKGATE_(\w+_)?PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$`)
	linkName    = regexp.MustCompile(`_[0-9]+_(TCP|UDP|SCTP)`)
	portValue   = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

func foreign(name, value string) bool {
	if strings.HasPrefix(name, envPrefix+"TEST_") || slices.Contains(notSettings, name) {
		return true
	}
	if serviceName.MatchString(name) {
		return true
	}
	if !portName.MatchString(name) {
		return false
	}
	// TASKGATE_EGRESS_PORT=443 is a slip; a link's value is a URL.
	return linkName.MatchString(name) || portValue.MatchString(value)
}

func (l *loader) flags(flags map[string]string) map[string]any {
	values := map[string]any{}
	unknown := map[string]bool{}
	for flag, value := range flags {
		at := slices.IndexFunc(table, func(s Setting) bool { return s.Flag == flag && flag != "" })
		switch {
		case at < 0:
			unknown["--"+flag] = true
		case value != "":
			values[table[at].Key] = value
		}
	}
	l.unknown(unknown, "unknown flag")

	return values
}

func (l *loader) unknown(names map[string]bool, text string) {
	for _, name := range sortedKeys(names) {
		l.faultf(name, "%s", text)
	}
}

// file reads the file that the flags or the environment name.
func (l *loader) file(read func(string) ([]byte, error), environ, flags map[string]any) map[string]any {
	key := strings.ToLower(strings.TrimPrefix(nameConfig, envPrefix))
	path, ok := flags[key].(string)
	if !ok {
		path, ok = environ[key].(string)
	}
	if !ok {
		return nil
	}
	if read == nil {
		l.faultf(nameConfig, "%q: no file can be read here", path)

		return nil
	}
	content, err := read(path)
	if err != nil {
		l.faultf(nameConfig, "%v", err)

		return nil
	}
	parsed, err := yaml.Parser().Unmarshal(content)
	if err != nil {
		// The parser's message may quote the file, and with it a secret.
		l.faultf(nameConfig, "%q is not a YAML mapping%s", path, lineOf(err))

		return nil
	}

	return l.fileValues(path, key, parsed)
}

func lineOf(err error) string {
	if line := regexp.MustCompile(`line [0-9]+`).FindString(err.Error()); line != "" {
		return ", see " + line
	}

	return ""
}

func (l *loader) fileValues(path, ownKey string, parsed map[string]any) map[string]any {
	values := map[string]any{}
	for _, key := range sortedKeys(parsed) {
		at := slices.IndexFunc(table, func(s Setting) bool { return s.Key == key && key != ownKey })
		if at < 0 {
			l.faultf(key, "(file %s) unknown setting", path)

			continue
		}
		value, ok := scalar(parsed[key])
		if !ok {
			l.faultf(table[at].Name, "(file) want a single value or a list")
		} else if value != "" {
			values[key] = value
		}
	}

	return values
}

// scalar writes a YAML value as the environment would have it.
func scalar(value any) (string, bool) {
	switch v := value.(type) {
	case nil:
		return "", true
	case string:
		return v, true
	case bool, int, int64, uint64, float64:
		return fmt.Sprint(v), true
	case []any:
		return joined(v)
	case map[string]any:
		pairs := make([]any, 0, len(v))
		for _, key := range sortedKeys(v) {
			item, ok := v[key].(string)
			if !ok {
				return "", false
			}
			pairs = append(pairs, key+"="+item)
		}

		return joined(pairs)
	}

	return "", false
}

func joined(items []any) (string, bool) {
	parts := make([]string, 0, len(items))
	for _, item := range items {
		switch item.(type) {
		case string, int:
			parts = append(parts, fmt.Sprint(item))
		default:
			return "", false
		}
	}

	return strings.Join(parts, ","), true
}
