package rabbit

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Errors of the checks; no repetition cures them.
var (
	errTooOld  = errors.New("RabbitMQ 3.10 or later is needed")
	errCluster = errors.New("a cluster needs RabbitMQ 3.12.5 or later: before, delayed tasks stall when a node dies; " +
		"upgrade it, or set TASKGATE_ALLOW_OLD_CLUSTER=true")
	errFeature = errors.New("RabbitMQ's feature flag stream_queue is not enabled, and without it waiting messages may be lost: " +
		"run rabbitmqctl enable_feature_flag all")
)

// version of a broker, as numbers.
type version [3]int

var (
	// oldest has at-least-once dead-lettering, on which delays rest.
	oldest = version{3, 10, 0}
	// clusterSafe no longer stalls delayed messages when a node of a cluster
	// dies that leads both ends of a transfer.
	clusterSafe = version{3, 12, 5}
	// flagRequired has the feature flag of at-least-once dead-lettering always
	// enabled.
	flagRequired = version{3, 12, 0}
	// supported by us beyond "it works".
	supported = version{3, 13, 0}
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

// checkVersion refuses what cannot keep the promises. That several nodes are
// given is all that shows a cluster from here; of one node it is a warning.
func (d *Driver) checkVersion(conn *amqp.Connection) (version, error) {
	product, _ := conn.Properties["product"].(string)
	text, _ := conn.Properties["version"].(string)
	v, ok := parseVersion(text)
	if !ok || product != "RabbitMQ" {
		return v, fmt.Errorf("%w: the broker says it is %q %q", errTooOld, product, text)
	}
	warning, err := judge(v, len(d.opts.URLs) > 1, d.opts.AllowOldCluster)
	if err != nil {
		return v, fmt.Errorf("%w (this is %s)", err, text)
	}
	var told *string
	if warning != "" {
		told = new(fmt.Sprintf("RabbitMQ %s %s", text, warning))
	}
	if before := d.oldBroker.Swap(told); before == nil && told != nil { // said once
		d.log.Info("the broker works, with a reservation", "warning", *told)
	}
	return v, nil
}

// judge says what is to be said of a version.
func judge(v version, cluster, allowed bool) (warning string, err error) {
	switch {
	case v.before(oldest):
		return "", errTooOld
	case v.before(clusterSafe) && cluster && !allowed:
		return "", errCluster
	case v.before(clusterSafe) && cluster:
		return "holds up delayed tasks when a node of the cluster dies, until it is back (TASKGATE_ALLOW_OLD_CLUSTER): upgrade to 3.13 or later", nil
	case v.before(clusterSafe):
		return "is fine as a single node; a cluster needs 3.12.5 or later, or delayed tasks stall when a node dies", nil
	case v.before(supported):
		return "works; 3.13 or later is recommended", nil
	}
	return "", nil
}

// checkFeature makes sure that queues hand over at least once. Where the
// feature flag for it may be off the broker silently falls back to losing
// them, so it is asked for something that depends on the same flag: a stream,
// which is removed again.
func (d *Driver) checkFeature(s *session, v version) error {
	if !v.before(flagRequired) || d.featured.Load() {
		return nil
	}
	name := d.names.prefix + "check." + rand.Text()
	err := d.withChannel(s, func(ch *amqp.Channel) error {
		d.opts.onDeclare(name)
		_, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{"x-queue-type": "stream", "x-initial-cluster-size": int64(1)})
		if err != nil {
			return err
		}
		_, err = ch.QueueDelete(name, false, false, false)
		return err
	})
	if e, ok := errors.AsType[*amqp.Error](err); ok && e.Server && e.Code != amqp.AccessRefused {
		return fmt.Errorf("%w (%s)", errFeature, e.Reason)
	}
	if err != nil {
		return fmt.Errorf("check the broker's features: %w", err)
	}
	d.featured.Store(true)
	return nil
}
