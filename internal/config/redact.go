package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
)

// hidden stands for a secret that is set.
const hidden = "[set]"

// Redacted returns the settings that the role looks at, by name, fit for a log: of secrets only
// whether they are set, of server URLs only scheme, host and path.
func (c Config) Redacted() map[string]string {
	values := make(map[string]string, len(table))
	for _, s := range table {
		if s.get == nil || !slices.Contains(s.Roles, c.Role) {
			continue
		}
		value := s.get(c)
		switch {
		case !s.Secret || value == "":
		case strings.HasSuffix(s.Name, "_URL"):
			value = redactURLs(value)
		default:
			value = hidden
		}
		values[s.Name] = value
	}

	return values
}

// redactURLs hides everything when one part is no URL: a comma in a password would else cut it in
// two, and half of it would pass as a port.
func redactURLs(list string) string {
	var parts []string
	for _, raw := range split(list) {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || u.Scheme == "" {
			return hidden
		}
		parts = append(parts, u.Scheme+"://"+u.Host+u.EscapedPath())
	}

	return strings.Join(parts, ",")
}

// String hides secrets, as every other way to print a Config does.
func (c Config) String() string { return fmt.Sprint(c.Redacted()) }

// GoString hides secrets from %#v.
func (c Config) GoString() string { return c.String() }

// MarshalJSON hides secrets.
func (c Config) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(c.Redacted())
	if err != nil {
		return nil, fmt.Errorf("marshal the configuration: %w", err)
	}

	return b, nil
}

// LogValue hides secrets from slog.
func (c Config) LogValue() slog.Value {
	values := c.Redacted()
	attrs := make([]slog.Attr, 0, len(values))
	for _, name := range sortedKeys(values) {
		attrs = append(attrs, slog.String(name, values[name]))
	}

	return slog.GroupValue(attrs...)
}
