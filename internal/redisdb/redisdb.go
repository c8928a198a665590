// Package redisdb opens Redis for the drivers of results and registry: one
// client, one pub/sub connection, the checks at start. It is a leaf.
//
// The server is given by a URL, or its sentinels are: then every new
// connection goes to the primary that they name at that moment, and those to
// an earlier one are given up.
package redisdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Client is what drivers call.
type Client = redis.UniversalClient

// Options of a [DB]. Zero values get defaults.
type Options struct {
	// PoolSize is the most connections used at a time; default 64.
	PoolSize int
	// Name shows in CLIENT LIST; default "taskgate".
	Name   string
	Logger *slog.Logger
}

const (
	defaultPool  = 64
	minIdle      = 4
	dialTimeout  = 3 * time.Second
	ioTimeout    = 3 * time.Second
	poolTimeout  = 4 * time.Second
	idleTimeout  = 5 * time.Minute
	pipelinePool = 8
)

// DB is one Redis. It is safe for concurrent use.
type DB struct {
	client *redis.Client
	lane   *lane
	bus    *bus
	log    *slog.Logger
	close  sync.Once
	dials  dials
}

// ErrURL says that a Redis URL is unusable. It never quotes the URL, which
// may hold a password.
var ErrURL = errors.New("not a Redis URL of the form redis://[user:password@]host:port/db, rediss:// or unix://, " +
	"or of sentinels: redis://host:port/db?master_name=NAME&addr=host2:port&addr=…")

// Query parameters of a URL that make it one of sentinels.
const (
	masterParam = "master_name"
	moreParam   = "addr"
)

// New makes a DB from a URL. It does no I/O.
func New(rawURL string, opt Options) (*DB, error) {
	connect, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Name == "" {
		opt.Name = "taskgate"
	}
	if opt.PoolSize <= 0 {
		opt.PoolSize = defaultPool
	}
	quiet()
	client := connect(opt)
	db := &DB{client: client, log: opt.Logger, bus: newBus(client, opt.Logger)}
	client.AddHook(&db.dials)
	if db.lane, err = newLane(client); err != nil {
		return nil, fmt.Errorf("share round trips to Redis: %w", err)
	}
	return db, nil
}

// Stats tells how the connections fare.
type Stats struct {
	Dials    int64 // connections made
	Failures int64 // tries that brought none
	Timeouts int64 // calls that waited too long for a connection
	Busy     int   // connections in use
	Idle     int
}

// Stats is read from memory.
func (db *DB) Stats() Stats {
	pool := db.client.PoolStats()
	idle := int(pool.IdleConns)
	return Stats{
		Dials: db.dials.made.Load(), Failures: db.dials.failed.Load(), Timeouts: int64(pool.Timeouts),
		Busy: max(int(pool.TotalConns)-idle, 0), Idle: idle,
	}
}

// dials counts them. It is a hook of the library and lets everything pass.
type dials struct{ made, failed atomic.Int64 }

// DialHook implements redis.Hook.
func (d *dials) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := next(ctx, network, addr)
		if err != nil {
			d.failed.Add(1)
		} else {
			d.made.Add(1)
		}
		return c, err
	}
}

// ProcessHook implements redis.Hook.
func (*dials) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// ProcessPipelineHook implements redis.Hook.
func (*dials) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// quiet keeps the library from writing to standard error by itself: what it
// has to say reaches callers as errors.
var quiet = sync.OnceFunc(func() { redis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// parse returns what makes the client that a URL asks for.
func parse(rawURL string) (func(Options) *redis.Client, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, ErrURL
	}
	switch u.Scheme {
	case "redis", "rediss", "unix":
	default:
		return nil, fmt.Errorf("%w (its scheme is not redis, rediss or unix)", ErrURL)
	}
	if u.Query().Has(masterParam) && !strings.Contains(u.Host, ",") {
		o, err := redis.ParseFailoverURL(rawURL)
		if err != nil || o.MasterName == "" || o.ReplicaOnly || o.RouteByLatency || o.RouteRandomly {
			return nil, ErrURL
		}
		return func(opt Options) *redis.Client { return redis.NewFailoverClient(watched(o, opt)) }, nil
	}
	if strings.Contains(u.Host, ",") || u.Query().Has(moreParam) {
		return nil, fmt.Errorf("%w (several servers need master_name, the name that their sentinels know the primary by; "+
			"Redis Cluster is not supported)", ErrURL)
	}
	o, err := redis.ParseURL(rawURL)
	if err != nil {
		return nil, ErrURL
	}
	return func(opt Options) *redis.Client { return redis.NewClient(tuned(o, opt)) }, nil
}

// tuned sets what the drivers rely on, whatever the URL says.
func tuned(o *redis.Options, opt Options) *redis.Options {
	o.ClientName, o.PoolSize = opt.Name, opt.PoolSize
	// A script that was applied and whose answer was lost must not run again:
	// its second answer would be a lie.
	o.MaxRetries = -1
	// Calls end with their context's deadline.
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = dialTimeout, ioTimeout, ioTimeout
	o.DialerRetries = 1 // callers have deadlines and their own patience
	o.PoolTimeout, o.ConnMaxIdleTime = poolTimeout, idleTimeout
	o.MinIdleConns = min(minIdle, o.PoolSize)
	o.PipelinePoolSize = min(pipelinePool, o.PoolSize)
	// Nothing here needs RESP3, its pushes, or CLIENT SETINFO of 7.2.
	o.Protocol = 2
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return o
}

// watched is tuned for a primary behind sentinels.
func watched(o *redis.FailoverOptions, opt Options) *redis.FailoverOptions {
	t := tuned(&redis.Options{}, opt)
	o.ClientName, o.PoolSize, o.PipelinePoolSize, o.MinIdleConns = t.ClientName, t.PoolSize, t.PipelinePoolSize, t.MinIdleConns
	o.MaxRetries, o.ContextTimeoutEnabled = t.MaxRetries, t.ContextTimeoutEnabled
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = t.DialTimeout, t.ReadTimeout, t.WriteTimeout
	o.DialerRetries, o.PoolTimeout, o.ConnMaxIdleTime = t.DialerRetries, t.PoolTimeout, t.ConnMaxIdleTime
	o.Protocol, o.DisableIdentity = t.Protocol, t.DisableIdentity
	return o
}

// Client returns the client for commands and scripts.
func (db *DB) Client() Client { return db.client }

// Subscribe calls fn for every message of the channel and reset after every
// (re)subscription, until ctx ends (then nil) or the DB is closed (then an
// error). All subscriptions share one connection. fn and reset must not block.
func (db *DB) Subscribe(ctx context.Context, channel string, fn func(msg string), reset func()) error {
	return db.bus.subscribe(ctx, channel, fn, reset)
}

// Close ends every call and subscription.
func (db *DB) Close() error {
	var err error
	db.close.Do(func() {
		db.bus.close()
		err = db.client.Close()
	})
	return err
}

// Life names the run of the server that answers now: another one than before
// was restarted, or is a replica that was promoted, and may lack what the one
// before had confirmed last.
func (db *DB) Life(ctx context.Context) (string, error) {
	text, err := db.client.Info(ctx, "server").Result()
	if err != nil {
		return "", fmt.Errorf("ask Redis which run it is: %w", err)
	}
	return infoFields(text)["run_id"], nil
}

func infoFields(info string) map[string]string {
	fields := make(map[string]string)
	for line := range strings.SplitSeq(info, "\n") {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}
