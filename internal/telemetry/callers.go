package telemetry

import "time"

// AuthFailed counts a failed authentication. slowed: it was refused before
// anything was looked up, since its sender, or all together, failed too often.
func (m *Metrics) AuthFailed(slowed bool) {
	outcome := "refused"
	if slowed {
		outcome = "slowed"
	}
	m.authFailures.get(outcome).Inc()
}

// Certificate tells until when the API's certificate is good.
func (m *Metrics) Certificate(until time.Time) { m.certificateEnd.Set(float64(until.Unix())) }

// CertificateRead counts certificates that changed, and those of them that
// could not be used.
func (m *Metrics) CertificateRead(good bool) {
	outcome := "refused"
	if good {
		outcome = "taken"
	}
	m.certificates.get(outcome).Inc()
}
