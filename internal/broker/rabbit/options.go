package rabbit

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Options of a [Driver]. The zero value of each optional field means its
// default.
type Options struct {
	// URLs are the nodes of one cluster, amqp:// or amqps://. At least one.
	URLs []string
	// Namespace begins every name in the broker: letters, digits, _ and -.
	// Default "tg".
	Namespace string
	// Logger; default [slog.Default].
	Logger *slog.Logger
	// Name shows in the broker's list of connections. Default "taskgate".
	Name string

	// PublishChannels is how many channels publish side by side. Default 4.
	PublishChannels int
	// Window is how many publishes may await their confirm on each channel.
	// Default 256: the client library walks all of them at each confirm.
	Window int
	// WindowWait is how long a publish waits for a place in a full window
	// before it gives up, surely not stored. Default 5 s.
	WindowWait time.Duration
	// ConnectWait is the same for a connection that is not there. Default 1 s.
	ConnectWait time.Duration

	// DeliveryLimit is after how many deliveries a message goes to quarantine.
	// It is an argument of the queues: all processes of a namespace must agree
	// on it, for ever. Default 100; only tests have a reason to change it.
	DeliveryLimit int

	// Now tells whether a message is due. Default [time.Now].
	Now func() time.Time

	// AllowOldCluster takes several nodes of a broker whose clusters hold up
	// delayed messages when a node dies. Without it they are refused.
	AllowOldCluster bool

	// onDeclare tells tests which queues to remove again.
	onDeclare func(queue string)
}

// Defaults of [Options].
const (
	defaultNamespace       = "tg"
	defaultName            = "taskgate"
	defaultPublishChannels = 4
	defaultWindow          = 256
	defaultWindowWait      = 5 * time.Second
	defaultConnectWait     = time.Second
	defaultDeliveryLimit   = 100
)

// namespaces are short enough that no name passes AMQP's 255 bytes.
var namespaces = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (o Options) withDefaults() (Options, error) {
	if len(o.URLs) == 0 {
		return o, errors.New("no AMQP URL given")
	}
	for _, u := range o.URLs {
		if _, err := amqp.ParseURI(u); err != nil {
			return o, fmt.Errorf("AMQP URL: %w", withoutSecrets(err))
		}
	}
	orDefault(&o.Namespace, defaultNamespace)
	orDefault(&o.Name, defaultName)
	orDefault(&o.PublishChannels, defaultPublishChannels)
	orDefault(&o.Window, defaultWindow)
	orDefault(&o.WindowWait, defaultWindowWait)
	orDefault(&o.ConnectWait, defaultConnectWait)
	orDefault(&o.DeliveryLimit, defaultDeliveryLimit)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.onDeclare == nil {
		o.onDeclare = func(string) {}
	}
	if !namespaces.MatchString(o.Namespace) {
		return o, errors.New("namespace must be 1 to 64 letters, digits, _ or -")
	}
	return o, nil
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
