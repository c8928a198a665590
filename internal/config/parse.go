package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Short names for the field types, so that the table stays readable.
type (
	durationOf = time.Duration
	prefixOf   = netip.Prefix
	prefixes   = []netip.Prefix
)

const (
	anyPort  = "any"
	keyBytes = 32
	maxBytes = 1 << 30

	maxManyBytes = 1 << 40
)

// The errors of parsers say what is expected and never repeat the value: the caller knows whether
// it is secret.

func parseBool(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "true", "1", "yes", "on":
		return true, nil
	case "false", "0", "no", "off":
		return false, nil
	}

	return false, errors.New("want true or false")
}

func parseInt(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, errors.New("want a whole number")
	}

	return n, nil
}

func parseNumber(v string) (float64, error) {
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || n < 0 || math.IsInf(n, 0) || math.IsNaN(n) {
		return 0, errors.New("want a number that is not negative")
	}

	return n, nil
}

func parseDuration(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if err != nil {
		return 0, errors.New(`want a duration such as "90s" or "1h30m"`)
	}

	return d, nil
}

// units are from large to small, so that the first that divides a size is the shortest to write.
var units = []struct {
	suffix string
	bytes  int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func parseBytes(v string) (int, error) { return parseBytesTo(v, maxBytes, "1GiB") }

// parseManyBytes is for what is kept in stores, not in memory.
func parseManyBytes(v string) (int64, error) {
	n, err := parseBytesTo(v, maxManyBytes, "1024GiB")

	return int64(n), err
}

func parseBytesTo(v string, most int, written string) (int, error) {
	fault := fmt.Errorf(`want a size such as "1MiB", "16KiB" or a number of bytes, at most %s`, written)
	number, factor := v, 1
	for _, unit := range units {
		if rest, ok := strings.CutSuffix(v, unit.suffix); ok {
			number, factor = strings.TrimSpace(rest), unit.bytes

			break
		}
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > most/factor {
		return 0, fault
	}

	return n * factor, nil
}

func formatBytes(n int) string {
	for _, unit := range units {
		if n != 0 && n%unit.bytes == 0 {
			return strconv.Itoa(n/unit.bytes) + unit.suffix
		}
	}

	return "0B"
}

func parseOneOf[T ~string](v string, allowed ...T) (T, error) {
	for _, a := range allowed {
		if v == string(a) {
			return a, nil
		}
	}

	return "", fmt.Errorf("want %s", join(allowed, func(a T) string { return strconv.Quote(string(a)) }))
}

func parseLevel(v string) (slog.Level, error) {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(v, level.String()) {
			return level, nil
		}
	}

	return 0, errors.New(`want "debug", "info", "warn" or "error"`)
}

func parseKey(v string) ([]byte, error) {
	fault := fmt.Errorf("want %d bytes in base64 (openssl rand -base64 %d makes them)", keyBytes, keyBytes)
	key, err := base64.StdEncoding.DecodeString(v)
	if err != nil || len(key) != keyBytes {
		return nil, fault
	}

	return key, nil
}

func formatKey(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

// split cuts at commas and drops empty parts, so that a trailing comma does no harm.
func split(v string) []string {
	var parts []string
	for part := range strings.SplitSeq(v, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}

	return parts
}

func join[T any](values []T, format func(T) string) string {
	parts := make([]string, 0, len(values))
	for _, v := range values {
		parts = append(parts, format(v))
	}

	return strings.Join(parts, ",")
}

func parseList[T any](v string, parse func(string) (T, error)) ([]T, error) {
	var (
		values []T
		faults []string
	)
	for i, part := range split(v) {
		value, err := parse(part)
		if err != nil {
			faults = append(faults, fmt.Sprintf("entry %d: %v", i+1, err))
		}
		values = append(values, value)
	}
	if len(faults) > 0 {
		return nil, errors.New(strings.Join(faults, "; "))
	}

	return values, nil
}

// parsePrefix takes an address as the network of one address. Bits behind the mask are refused:
// 10.1.2.3/8 is more often a slip than meant.
func parsePrefix(v string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(v); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(v)
	if err != nil {
		return netip.Prefix{}, errors.New(`want a network such as "10.0.0.0/8"`)
	}
	if prefix != prefix.Masked() {
		return netip.Prefix{}, fmt.Errorf("has bits behind its mask: the network is %s", prefix.Masked())
	}

	return prefix, nil
}

func parsePorts(v string) ([]uint16, error) {
	if v == anyPort {
		return nil, nil
	}
	ports, err := parseList(v, func(part string) (uint16, error) {
		port, err := strconv.ParseUint(part, 10, 16)
		if err != nil || port == 0 {
			return 0, errors.New("want a port from 1 to 65535")
		}

		return uint16(port), nil
	})
	if err == nil && ports == nil {
		// No port at all would read as any.
		return nil, errors.New(`want ports such as "80,443", or "any"`)
	}

	return ports, err
}

func formatPorts(ports []uint16) string {
	if ports == nil {
		return anyPort
	}

	return join(ports, func(p uint16) string { return strconv.Itoa(int(p)) })
}

func parseHosts(v string) (map[string]netip.Addr, error) {
	hosts := map[string]netip.Addr{}
	_, err := parseList(v, func(part string) (struct{}, error) {
		host, ip, _ := strings.Cut(part, "=")
		host = strings.ToLower(strings.TrimSpace(host))
		addr, err := netip.ParseAddr(strings.TrimSpace(ip))
		if host == "" || err != nil {
			return struct{}{}, errors.New("want host=ip")
		}
		if _, twice := hosts[host]; twice {
			return struct{}{}, errors.New("names a host a second time")
		}
		hosts[host] = addr

		return struct{}{}, nil
	})
	if err != nil {
		return nil, err
	}

	return hosts, nil
}

func formatHosts(hosts map[string]netip.Addr) string {
	names := slices.Sorted(maps.Keys(hosts))

	return join(names, func(name string) string { return name + "=" + hosts[name].String() })
}
