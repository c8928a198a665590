package rabbit

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// FuzzOpen: a delivery that others made is told from ours, whatever its headers.
func FuzzOpen(f *testing.F) {
	f.Add("0011223344556677aabb", "", "1 1 1 0 0 1 0 0 0", int64(0), true)
	f.Add("", "results", "", int64(-1), false)
	f.Add("", "", "", int64(1)<<62, false)
	f.Fuzz(func(t *testing.T, endpoint, system, meta string, eta int64, before bool) {
		for _, h := range []amqp.Table{
			{headerEndpoint: endpoint, headerSystem: system, headerMeta: meta, headerETA: eta, headerRedelivered: before},
			// The same names with values of other types are as good as absent.
			{headerEndpoint: []byte(endpoint), headerSystem: eta, headerMeta: before, headerETA: meta, headerRedelivered: amqp.Table{}},
		} {
			p, err := open(&amqp.Delivery{Headers: h, Body: []byte(meta)})
			if (err == nil) != (p.wire.Endpoint != "" || p.wire.System != "") {
				t.Fatalf("%v: %+v, %v", h, p, err)
			}
			if string(p.wire.Body) != meta || p.redelivered != (h[headerRedelivered] == true) {
				t.Fatalf("%v: %+v", h, p)
			}
		}
	})
}

func FuzzParseVersion(f *testing.F) {
	for _, s := range []string{"3.10.8", "4.0.0-rc.1", "3.13.7+2", "3", "-", "3.-1", "99999999999999999999.1", "3.10.8.9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, ok := parseVersion(s)
		for _, n := range v {
			if n < 0 {
				t.Fatalf("%q is %v", s, v)
			}
		}
		if ok && (v.before(v) || v.before(version{})) {
			t.Fatalf("%q is before itself, or before the first", s)
		}
	})
}
