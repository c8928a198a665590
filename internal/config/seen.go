package config

import "strconv"

// maxMetricsEndpoints bounds the memory that metrics take: about 30 kB for
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

func (v *validator) seen() {
	between(v, "METRICS_ENDPOINTS", v.MetricsEndpoints, 1, maxMetricsEndpoints, strconv.Itoa)
}
