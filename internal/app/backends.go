package app

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/taskgate/taskgate/internal/admission"
	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/broker/rabbit"
	brokersqlite "github.com/taskgate/taskgate/internal/broker/sqlite"
	"github.com/taskgate/taskgate/internal/config"
	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/redisdb"
	"github.com/taskgate/taskgate/internal/registry"
	registryredis "github.com/taskgate/taskgate/internal/registry/redis"
	registrysqlite "github.com/taskgate/taskgate/internal/registry/sqlite"
	"github.com/taskgate/taskgate/internal/results"
	resultsredis "github.com/taskgate/taskgate/internal/results/redis"
	resultssqlite "github.com/taskgate/taskgate/internal/results/sqlite"
	"github.com/taskgate/taskgate/internal/seal"
	"github.com/taskgate/taskgate/internal/sqlitedb"
)

// backends is what the roles stand on.
type backends struct {
	queue    *broker.Queue
	store    *results.Store
	registry *registry.Registry
	engine   *lifecycle.Engine
	secrets  secrets
	redis    *redisdb.DB    // nil: embedded
	canary   *broker.Canary // nil: this process delivers nothing
	// settings is what is wrong with those of Redis, as last seen.
	settings atomic.Pointer[[]string]
	quotas   *admission.Quotas

	regDriver registry.Driver
	// warnings are what is not as it should be with the servers; nil: none.
	warnings func() []string
}

// open connects to the backends.
func (a *App) open(ctx context.Context) (*backends, error) {
	b := &backends{}
	open := a.openServices
	if a.cfg.Role.Embedded() {
		open = a.openEmbedded
	}
	if err := open(ctx, b); err != nil {
		return nil, err
	}
	if err := a.unseal(b); err != nil {
		return nil, err
	}
	if a.cfg.Role != config.Gateway {
		b.canary = broker.NewCanary(b.queue, a.now, a.log)
	}
	b.quotas = admission.NewQuotas(b.store)
	opt := lifecycle.Options{
		Owner: a.owner, KeepPayload: a.cfg.KeepPayload, PublishTimeout: a.cfg.PublishTimeout, Logger: a.log,
		Observer: a.metrics, CallbackBody: api.CallbackBody, Now: a.now, Keeps: a.keeps(b),
	}
	if b.redis != nil {
		opt.Life = b.redis.Life
	}
	b.engine = lifecycle.New(a.engineQueue(b.queue), b.store, opt)
	return b, nil
}

// unseal makes the registry and what opens its secrets.
func (a *App) unseal(b *backends) error {
	key, err := a.secretKey()
	if err != nil {
		return err
	}
	ring, err := seal.NewRing(append([][]byte{key}, a.cfg.OldSecretKeys...)...)
	if err != nil {
		return fmt.Errorf("TASKGATE_SECRET_KEY: %w", err)
	}
	b.secrets = secrets{ring}
	b.registry = registry.New(b.regDriver, registry.Options{Logger: a.log, Now: a.now})
	return nil
}

// openRegistry opens the registry and nothing else.
func (a *App) openRegistry(ctx context.Context) (*backends, error) {
	b := &backends{}
	if a.cfg.Role.Embedded() {
		db, err := sqlitedb.Open(ctx, a.cfg.DataDir)
		if err != nil {
			return nil, err
		}
		a.onStop("embedded store", func(context.Context) error { return db.Close() })
		a.embeddedRegistry(b, db)
		return b, a.unseal(b)
	}
	db, _, err := a.openRedis(ctx)
	if err != nil {
		return nil, err
	}
	a.redisRegistry(b, db)
	return b, a.unseal(b)
}

func (a *App) embeddedRegistry(b *backends, db *sqlitedb.DB) {
	r := registrysqlite.Open(db)
	a.onStop("registry store", func(context.Context) error { return r.Close() })
	b.regDriver = r
}

func (a *App) redisRegistry(b *backends, db *redisdb.DB) {
	r := registryredis.New(db, a.cfg.Namespace)
	a.onStop("registry store", func(context.Context) error { return r.Close() })
	b.regDriver = r
}

func (a *App) openEmbedded(ctx context.Context, b *backends) error {
	db, err := sqlitedb.Open(ctx, a.cfg.DataDir)
	if err != nil {
		return err
	}
	a.onStop("embedded store", func(context.Context) error { return db.Close() })
	q, err := brokersqlite.Open(ctx, db)
	if err != nil {
		return err
	}
	b.queue = a.newQueue(q)
	a.onStop("queue", b.queue.Close)
	s, err := resultssqlite.Open(ctx, db)
	if err != nil {
		return err
	}
	a.onStop("results", func(context.Context) error { return s.Close() })
	b.store = a.newStore(s)
	a.embeddedRegistry(b, db)
	return nil
}

// openRedis also returns what is not as it should be there.
func (a *App) openRedis(ctx context.Context) (db *redisdb.DB, warnings []string, err error) {
	if db, err = redisdb.New(a.cfg.RedisURL, redisdb.Options{Name: a.name(), Logger: a.log}); err != nil {
		return nil, nil, fmt.Errorf("TASKGATE_REDIS_URL: %w", err)
	}
	a.onStop("redis", func(context.Context) error { return db.Close() })
	if warnings, err = db.Check(ctx); err != nil {
		return nil, nil, err
	}
	for _, w := range warnings {
		a.log.WarnContext(ctx, "redis is not set up to keep data", "problem", w)
	}
	if err := a.strict(warnings); err != nil {
		return nil, nil, err
	}
	return db, warnings, nil
}

func (a *App) openServices(ctx context.Context, b *backends) error {
	db, warnings, err := a.openRedis(ctx)
	if err != nil {
		return err
	}
	b.redis = db
	s := resultsredis.New(db, a.cfg.Namespace)
	a.onStop("results", func(context.Context) error { return s.Close() })
	b.store = a.newStore(s)
	a.redisRegistry(b, db)
	q, err := rabbit.Open(ctx, rabbit.Options{
		URLs: a.cfg.AMQPURLs, Namespace: a.cfg.Namespace, Name: a.name(), Logger: a.log, Now: a.now,
		AllowOldCluster: a.cfg.AllowOldCluster,
	})
	if err != nil {
		return err
	}
	b.settings.Store(&warnings)
	b.warnings = func() []string { return slices.Concat(*b.settings.Load(), q.Warnings()) }
	b.queue = a.newQueue(q)
	a.onStop("queue", b.queue.Close)
	return a.strict(q.Warnings())
}

// settingsEvery is how often the settings of Redis are looked at: another
// server may answer at its address after a failover.
const settingsEvery = time.Minute

// watchSettings tells of settings that have become wrong. It ends nothing:
// what runs goes on as well as it can.
func (b *backends) watchSettings(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(settingsEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		b.lookAtSettings(ctx, log)
	}
}

func (b *backends) lookAtSettings(ctx context.Context, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	warnings, err := b.redis.Check(ctx)
	switch {
	case errors.Is(err, redisdb.ErrUnfit):
		warnings = []string{err.Error()}
	case err != nil:
		return // it is away: others tell
	}
	if before := b.settings.Swap(&warnings); slices.Equal(*before, warnings) {
		return
	}
	for _, w := range warnings {
		log.WarnContext(ctx, "redis is not set up to keep data", "problem", w)
	}
}

// strict makes errors of warnings where that is asked for.
func (a *App) strict(warnings []string) error {
	if !a.cfg.Strict || len(warnings) == 0 {
		return nil
	}
	return fmt.Errorf("refused by TASKGATE_STRICT: %s", strings.Join(warnings, "; "))
}

// name shows in the servers' lists of connections.
func (a *App) name() string { return "taskgate-" + string(a.cfg.Role) }

const secretKeyFile = "secret.key"

// secretKey is the key that seals stored secrets. taskgate dev makes one into
// its data folder when none is given.
func (a *App) secretKey() ([]byte, error) {
	if a.cfg.SecretKey != nil {
		return a.cfg.SecretKey, nil
	}
	path := filepath.Join(a.cfg.DataDir, secretKeyFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key := seal.GenerateKey()
		if err := os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
			return nil, fmt.Errorf("keep the secret key: %w", err)
		}
		return key, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the secret key: %w", err)
	}
	key, err := seal.ParseKey(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// common starts what every role needs.
func (a *App) common(ctx context.Context, b *backends) error {
	if err := b.registry.Sync(ctx); err != nil {
		return fmt.Errorf("read the registry: %w", err)
	}
	if err := a.checkSealed(ctx, b); err != nil {
		return err
	}
	if err := a.projects(ctx, b); err != nil {
		return err
	}
	a.background("registry", b.registry.Run)
	if b.redis != nil {
		a.background("memory of the store's losses", func(ctx context.Context) error { return a.recall(ctx, b) })
	}
	return nil
}

// recallEvery is how soon a crash of the store is noticed after its return.
const recallEvery = 2 * time.Second

// recall writes again what the store has lost in a crash.
func (a *App) recall(ctx context.Context, b *backends) error {
	tick := time.NewTicker(recallEvery)
	defer tick.Stop()
	for {
		if _, err := b.engine.Recall(ctx); err != nil && ctx.Err() == nil {
			a.log.DebugContext(ctx, "the store cannot be asked which run it is", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
