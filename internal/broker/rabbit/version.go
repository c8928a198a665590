package rabbit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

var errTooOld = errors.New("RabbitMQ 3.10 or later is needed")

// version of a broker, as numbers.
type version [3]int

var (
	// oldest has at-least-once dead-lettering, on which delays rest.
	oldest = version{3, 10, 0}
	// clusterSafe no longer stalls delayed messages when a node of a cluster
	// dies that leads both ends of a transfer.
	clusterSafe = version{3, 12, 5}
)

func (v version) before(w version) bool {
	for i := range v {
		if v[i] != w[i] {
			return v[i] < w[i]
		}
	}
	return false
}

// parseVersion reads "3.10.8", "4.0.0-rc.1", "3.13.7+2".
func parseVersion(s string) (version, bool) {
	var v version
	core, _, _ := strings.Cut(s, "-")
	core, _, _ = strings.Cut(core, "+")
	parts := strings.Split(core, ".")
	if len(parts) < 2 {
		return v, false
	}
	for i := range min(len(parts), len(v)) {
		n, err := strconv.Atoi(parts[i])
		if err != nil || n < 0 {
			return v, false
		}
		v[i] = n
	}
	return v, true
}

// checkVersion refuses what cannot keep the promises. Whether the broker is a
// cluster cannot be seen from here, so that is only a warning.
func (d *Driver) checkVersion(conn *amqp.Connection) error {
	product, _ := conn.Properties["product"].(string)
	text, _ := conn.Properties["version"].(string)
	v, ok := parseVersion(text)
	if !ok || product != "RabbitMQ" {
		return fmt.Errorf("%w: the broker says it is %q %q", errTooOld, product, text)
	}
	if v.before(oldest) {
		return fmt.Errorf("%w: this is %s", errTooOld, text)
	}
	var warning *string
	if v.before(clusterSafe) {
		warning = new(fmt.Sprintf("RabbitMQ %s is fine as a single node; a cluster needs 3.12.5 or later, "+
			"or delayed tasks stall when a node dies", text))
	}
	if before := d.oldBroker.Swap(warning); before == nil && warning != nil { // said once
		d.log.Info("the broker works, with a reservation", "warning", *warning)
	}
	return nil
}
