package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/taskgate/taskgate/bench/internal/deliver"
	"github.com/taskgate/taskgate/bench/internal/intake"
)

// River's settings. Its own throughput benchmark (`river bench`) fetches every 2 ms at most and
// polls every 20 ms, since its defaults (100 ms, 1 s) are for few jobs.
const (
	riverCooldown = 2 * time.Millisecond
	riverPoll     = 20 * time.Millisecond
	riverWorkers  = 256
	// riverConns is the pool's size in each process: the default of 4 starves 64 submitters.
	riverConns = 24
	// notifyBytes: PostgreSQL takes less than 8000 bytes in a notification.
	notifyBytes  = 7500
	riverBatch   = 32
	riverChannel = "bench_results"
)

// postArgs is the job.
type postArgs struct {
	Payload json.RawMessage `json:"payload"`
}

// Kind names the job.
func (postArgs) Kind() string { return "post" }

type postWorker struct {
	river.WorkerDefaults[postArgs]

	poster *deliver.Poster
	done   chan<- finished
}

// Work implements [river.Worker]. It returns once the result is stored and told.
func (w *postWorker) Work(ctx context.Context, job *river.Job[postArgs]) error {
	answer, err := w.poster.Post(ctx, strconv.FormatInt(job.ID, 10), job.Args.Payload)
	if err != nil {
		return err
	}
	stored := make(chan error, 1)
	select {
	case w.done <- finished{id: job.ID, result: string(answer), stored: stored}:
		return <-stored
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func riverPool(ctx context.Context, url string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("postgresql URL: %w", err)
	}
	cfg.MaxConns = riverConns
	return pgxpool.NewWithConfig(ctx, cfg)
}

func riverLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}

// MigrateRiver makes River's tables.
func MigrateRiver(ctx context.Context, url string) error {
	pool, err := riverPool(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	m, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: riverLog()})
	if err != nil {
		return err
	}
	if _, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return err
	}
	_, err = pool.Exec(ctx, "CREATE TABLE bench_results (id bigint PRIMARY KEY, result text NOT NULL)")
	return err
}

// RiverClient inserts jobs.
type RiverClient struct {
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
}

// NewRiverClient connects.
func NewRiverClient(ctx context.Context, url string) (*RiverClient, error) {
	pool, err := riverPool(ctx, url)
	if err != nil {
		return nil, err
	}
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Logger: riverLog(), FetchCooldown: riverCooldown, FetchPollInterval: riverPoll, // how often inserts wake workers, too
	})
	return &RiverClient{pool: pool, client: client}, err
}

// Close closes the connections.
func (r *RiverClient) Close() { r.pool.Close() }

// Enqueue implements [intake.Queue]; the id is the job's.
func (r *RiverClient) Enqueue(ctx context.Context, _ string, payload []byte) (string, error) {
	res, err := r.client.Insert(ctx, postArgs{Payload: payload}, nil)
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(res.Job.ID, 10), nil
}

// Stored implements [intake.Queue].
func (r *RiverClient) Stored(ctx context.Context, id string) ([]byte, bool, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return nil, false, err
	}
	var result []byte
	err = r.pool.QueryRow(ctx, "SELECT result FROM bench_results WHERE id = $1", n).Scan(&result)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, nil
	}
	return result, err == nil, err
}

// Listen delivers what [ServeRiver] tells until ctx ends. It returns once it hears. A result that
// is too long for a notification is delivered as nil.
func (r *RiverClient) Listen(ctx context.Context, w *intake.Waiters) error {
	conn, err := r.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+riverChannel); err != nil {
		conn.Release()
		return err
	}
	go func() {
		defer conn.Release()
		for {
			n, err := conn.Conn().WaitForNotification(ctx)
			if err != nil {
				return
			}
			for line := range strings.Lines(n.Payload) {
				id, result, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
				if result == "" {
					w.Deliver(id, nil)
					continue
				}
				w.Deliver(id, []byte(result))
			}
		}
	}()
	return nil
}

// ServeRiver works jobs until ctx ends.
//
// River completes jobs in batches, up to a quarter of a second after they were worked, and tells
// of it only then. A result that waits for that would not do River justice, so results have a
// table of their own: all that have come together are stored and told in one statement.
func ServeRiver(ctx context.Context, url, handler string, ready func()) error {
	pool, err := riverPool(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	done := make(chan finished)
	workers := river.NewWorkers()
	river.AddWorker(workers, &postWorker{poster: deliver.New(handler), done: done})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Logger: riverLog(), Workers: workers, FetchCooldown: riverCooldown, FetchPollInterval: riverPoll,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: riverWorkers}},
	})
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	ready()
	keep(ctx, pool, done)
	return client.Stop(context.WithoutCancel(ctx))
}

// finished is a job on its way into the table of results.
type finished struct {
	id     int64
	result string
	stored chan<- error
}

// keep stores results and tells of them until ctx ends.
func keep(ctx context.Context, pool *pgxpool.Pool, done <-chan finished) {
	for {
		var batch []finished
		select {
		case f := <-done:
			batch = append(batch, f)
		case <-ctx.Done():
			return
		}
		for more := true; more && len(batch) < riverBatch; {
			select {
			case f := <-done:
				batch = append(batch, f)
			default:
				more = false
			}
		}
		err := store(ctx, pool, batch)
		for _, f := range batch {
			f.stored <- err
		}
	}
}

// store is one transaction, so one sync of the disk.
func store(ctx context.Context, pool *pgxpool.Pool, batch []finished) error {
	ids, results := make([]int64, len(batch)), make([]string, len(batch))
	var text strings.Builder
	for i, f := range batch {
		ids[i], results[i] = f.id, f.result
		told := f.result
		if len(told) > notifyBytes/riverBatch {
			told = ""
		}
		fmt.Fprintf(&text, "%d %s\n", f.id, told)
	}
	_, err := pool.Exec(ctx, `WITH stored AS (INSERT INTO bench_results
		SELECT r.id, r.result FROM unnest($1::bigint[], $2::text[]) AS r(id, result) ON CONFLICT (id) DO NOTHING)
		SELECT pg_notify($3, $4)`, ids, results, riverChannel, text.String())
	return err
}
