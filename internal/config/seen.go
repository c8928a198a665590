package config

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// maxMetricsEndpoints bounds the memory that metrics take: about 10 kB for
// each endpoint.
const maxMetricsEndpoints = 10_000

func metricsEndpoints() Setting {
	return Setting{
		Name: "METRICS_ENDPOINTS", Roles: Roles(), Default: "500",
		Help: "endpoints with metrics of their own, at most 10000; the rest share one set",
		set:  func(c *Config, v string) (err error) { c.MetricsEndpoints, err = parseInt(v); return err },
		get:  func(c Config) string { return strconv.Itoa(c.MetricsEndpoints) },
	}
}

func metricsBacklog() Setting {
	s := boolean("METRICS_BACKLOG", Roles(), "export what waits at each endpoint, which costs a small read of the store for each; "+
		"the figures are those of the installation, so one process is enough", func(c *Config) *bool { return &c.MetricsBacklog })
	s.Default = "true"

	return s
}

func otlpEndpoint() Setting {
	return text("OTLP_ENDPOINT", Roles(), "", "base URL of a receiver of traces (OpenTelemetry's OTLP over HTTP), such as "+
		"`http://collector:4318`; without it no traces are made", func(c *Config) *string { return &c.OTLPEndpoint })
}

func otlpHeaders() Setting {
	return Setting{
		Name: "OTLP_HEADERS", Roles: Roles(), Secret: true,
		Help: "headers for the receiver of traces: `name=value,…`, values percent-encoded",
		set:  func(c *Config, v string) (err error) { c.OTLPHeaders, err = parseHeaders(v); return err },
		get:  func(c Config) string { return formatHeaders(c.OTLPHeaders) },
	}
}

func traceSample() Setting {
	return Setting{
		Name: "TRACE_SAMPLE", Roles: Roles(), Default: "1",
		Help: "part of the traces begun here that is kept, from 0 to 1; a trace is kept whole or not at all",
		set: func(c *Config, v string) (err error) {
			if c.TraceSample, err = strconv.ParseFloat(v, 64); err != nil {
				err = errors.New("want a number")
			}

			return err
		},
		get: func(c Config) string { return strconv.FormatFloat(c.TraceSample, 'g', -1, 64) },
	}
}

func traceCallers() Setting {
	return Setting{
		Name: "TRACE_CALLERS", Roles: withAPI, Default: string(TraceLink),
		Help: "`link`: a request begins a trace of its own and links to its caller's (`traceparent`); " +
			"`continue`: it is part of it, and the caller decides whether it is kept",
		set: func(c *Config, v string) (err error) {
			c.TraceCallers, err = parseOneOf(v, TraceLink, TraceContinue)

			return err
		},
		get: func(c Config) string { return string(c.TraceCallers) },
	}
}

// parseHeaders reads what OpenTelemetry's own variables hold.
func parseHeaders(v string) (map[string]string, error) {
	headers := make(map[string]string)
	for i, part := range split(v) {
		name, value, ok := strings.Cut(part, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		if !ok || err != nil || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("entry %d: want name=value", i+1)
		}
		headers[name] = value
	}

	return headers, nil
}

func formatHeaders(headers map[string]string) string {
	return join(slices.Sorted(maps.Keys(headers)), func(name string) string {
		return name + "=" + url.PathEscape(headers[name])
	})
}

func (v *validator) traces() {
	if v.OTLPEndpoint != "" {
		u, err := url.Parse(v.OTLPEndpoint)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			v.faultf("OTLP_ENDPOINT", `want a URL such as "http://collector:4318"`)
		case u.User != nil || u.RawQuery != "" || u.Fragment != "":
			v.faultf("OTLP_ENDPOINT", "must not have user, query or fragment; secrets go into TASKGATE_OTLP_HEADERS")
		}
	}
	if !(v.TraceSample >= 0 && v.TraceSample <= 1) { // nor NaN
		v.faultf("TRACE_SAMPLE", "want from 0 to 1")
	}
	if v.TraceCallers != TraceLink && v.TraceCallers != TraceContinue && v.Role.servesAPI() {
		v.faultf("TRACE_CALLERS", `want "link" or "continue"`)
	}
}

func (v *validator) seen() {
	v.traces()
	between(v, "METRICS_ENDPOINTS", v.MetricsEndpoints, 1, maxMetricsEndpoints, strconv.Itoa)
}
