package redis

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/taskgate/taskgate/internal/redisdb"
	"github.com/taskgate/taskgate/internal/registry"
)

var (
	//go:embed put.lua
	putLua string
	//go:embed seed.lua
	seedLua string
	//go:embed load.lua
	loadLua string
	//go:embed touch.lua
	touchLua string

	putScript   = redis.NewScript(putLua)
	seedScript  = redis.NewScript(seedLua)
	loadScript  = redis.NewScript(loadLua)
	touchScript = redis.NewScript(touchLua)
)

// Driver is a [registry.Driver].
type Driver struct {
	db      *redisdb.DB
	c       redisdb.Client
	keys    []string // meta, items
	uses    string   // key of the last uses
	channel string
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
}

var _ registry.Driver = (*Driver)(nil)

// New makes a driver on a Redis whose keys all begin with namespace. The DB
// stays the caller's to close.
func New(db *redisdb.DB, namespace string) *Driver {
	tag := namespace + ":{reg}:"
	ctx, cancel := context.WithCancel(context.Background())
	return &Driver{
		db: db, c: db.Client(), keys: []string{tag + "meta", tag + "items"}, uses: tag + "uses", channel: tag + "changed",
		ctx: ctx, stop: cancel,
	}
}

// Close ends the driver, not its DB.
func (d *Driver) Close() error {
	d.stop()
	return nil
}

var (
	errClosed = errors.New("driver is closed")
	errReply  = errors.New("unexpected reply")
)

// fail wraps what a call came to. redis.Nil is an answer, not a failure.
func fail(what string, err error) error {
	if err == nil || errors.Is(err, redis.Nil) {
		return nil
	}
	return fmt.Errorf("%s: %w: %w", what, registry.ErrUnavailable, err)
}

func (d *Driver) open(ctx context.Context) error {
	if d.ctx.Err() != nil {
		return fail("redis", errClosed)
	}
	if ctx.Err() != nil {
		return fail("redis", context.Cause(ctx))
	}
	return nil
}

func (d *Driver) run(ctx context.Context, what string, s *redis.Script, args ...any) (reply any, err error) {
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	reply, err = s.Run(ctx, d.c, d.keys, args...).Result()
	return reply, fail(what, err)
}

// Version implements registry.Driver.
func (d *Driver) Version(ctx context.Context) (string, int64, error) {
	if err := d.open(ctx); err != nil {
		return "", 0, err
	}
	reply, err := d.c.HMGet(ctx, d.keys[0], "e", "v").Result()
	if err != nil {
		return "", 0, fail("read registry version", err)
	}
	return meta(reply)
}

const metaFields = 2

func meta(reply []any) (epoch string, version int64, err error) {
	if len(reply) < metaFields {
		return "", 0, fail("read registry version", errReply)
	}
	epoch, ok := reply[0].(string)
	if !ok {
		return "", 0, nil
	}
	text, _ := reply[1].(string)
	if version, err = strconv.ParseInt(text, 10, 64); err != nil {
		return "", 0, fail("read registry version", errReply)
	}
	return epoch, version, nil
}

// Load implements registry.Driver.
func (d *Driver) Load(ctx context.Context) (registry.State, error) {
	reply, err := d.run(ctx, "load registry", loadScript)
	if err != nil || reply == nil {
		return registry.State{}, err
	}
	parts, _ := reply.([]any)
	var s registry.State
	if s.Epoch, s.Version, err = meta(parts); err != nil {
		return registry.State{}, err
	}
	pairs, _ := parts[metaFields].([]any)
	for i := 0; i+1 < len(pairs); i += 2 {
		field, _ := pairs[i].(string)
		value, _ := pairs[i+1].(string)
		it, ok := decode(field, value)
		if !ok {
			return registry.State{}, fail("load registry", errReply)
		}
		s.Items = append(s.Items, it)
	}
	return s, nil
}

// Put implements registry.Driver.
func (d *Driver) Put(ctx context.Context, it registry.Item, expect int64, epoch string) (int64, bool, error) {
	value := it.Value
	if it.Deleted {
		value = nil
	}
	reply, err := d.run(ctx, "write registry", putScript, field(it.Key), expect, epoch, flag(it.Deleted), value, d.channel)
	version, _ := reply.(int64)
	return version, version > 0, err
}

// Seed implements registry.Driver.
func (d *Driver) Seed(ctx context.Context, s registry.State) (bool, error) {
	args := make([]any, 0, 3+2*len(s.Items))
	args = append(args, s.Epoch, s.Version, d.channel)
	for _, it := range s.Items {
		args = append(args, field(it.Key), encode(it))
	}
	reply, err := d.run(ctx, "seed registry", seedScript, args...)
	return reply == int64(1), err
}

// Touch implements registry.Driver.
func (d *Driver) Touch(ctx context.Context, uses map[string]time.Time) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	args := make([]any, 0, 2*len(uses))
	for id, at := range uses {
		ms := int64(0)
		if !at.IsZero() {
			ms = at.UnixMilli()
		}
		args = append(args, id, ms)
	}
	return fail("note uses of keys", touchScript.Run(ctx, d.c, []string{d.uses}, args...).Err())
}

// Touched implements registry.Driver.
func (d *Driver) Touched(ctx context.Context) (map[string]time.Time, error) {
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	reply, err := d.c.HGetAll(ctx, d.uses).Result()
	if err != nil {
		return nil, fail("read uses of keys", err)
	}
	out := make(map[string]time.Time, len(reply))
	for id, text := range reply {
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fail("read uses of keys", errReply)
		}
		out[id] = time.UnixMilli(ms)
	}
	return out, nil
}

// Watch implements registry.Driver.
func (d *Driver) Watch(ctx context.Context, changed func()) error {
	if d.ctx.Err() != nil {
		return fail("watch registry", errClosed)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.ctx, cancel)()
	err := d.db.Subscribe(ctx, d.channel, func(string) { changed() }, changed)
	if err == nil && d.ctx.Err() != nil {
		err = errClosed
	}
	return fail("watch registry", err)
}

const separator = "\x00"

func field(k registry.Key) string { return k.Kind + separator + k.Project + separator + k.Name }

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func encode(it registry.Item) string {
	value := string(it.Value)
	if it.Deleted {
		value = ""
	}
	return strconv.FormatInt(it.Revision, 10) + " " + flag(it.Deleted) + " " + value
}

func decode(field, value string) (registry.Item, bool) {
	const parts = 3
	key := strings.SplitN(field, separator, parts)
	rest := strings.SplitN(value, " ", parts)
	if len(key) != parts || len(rest) != parts {
		return registry.Item{}, false
	}
	revision, err := strconv.ParseInt(rest[0], 10, 64)
	it := registry.Item{
		Key:      registry.Key{Kind: key[0], Project: key[1], Name: key[2]},
		Revision: revision, Deleted: rest[1] == "1",
	}
	if !it.Deleted {
		it.Value = []byte(rest[2])
	}
	return it, err == nil
}
