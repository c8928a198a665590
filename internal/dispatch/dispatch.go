package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Deps are what a [Dispatcher] works with.
type Deps struct {
	Engine    Engine
	Keeper    Keeper
	Endpoints Endpoints
	Source    Source
	Secrets   Secrets
	// Quotas shares the endpoints' limits; nil means that no other dispatcher
	// delivers for them.
	Quotas Quotas
	// Circuits shares what is down; nil means with nobody.
	Circuits Circuits
	// Tallies takes the endpoints' figures; nil means that nobody wants them.
	Tallies Tallies
	// Projects lists those whose old records may be forgotten; nil means
	// those that have endpoints.
	Projects func() []string
}

// Options of a [Dispatcher]. Zero values get defaults.
type Options struct {
	Sender SenderOptions // Guard is required
	Pool   PoolOptions
	// Owner names this process among the dispatchers.
	Owner string
	// Grace is how long attempts in flight may go on after [Dispatcher.Run]'s
	// context has ended.
	Grace time.Duration
	// Observers are told of every attempt.
	Observers Observers
	// Trace begins the span of each attempt; nil: none.
	Trace  Tracer
	Logger *slog.Logger
	Now    func() time.Time
}

const (
	defaultGrace = 30 * time.Second
	// settleGrace is for storing the outcomes of interrupted attempts.
	settleGrace = 15 * time.Second
)

// Dispatcher owns everything that delivers, and every goroutine of it.
type Dispatcher struct {
	sender  *Sender
	handler *Handler
	manager *Manager
	sweeper *Sweeper
	pool    *Pool
	shares  *shares
	breaks  *circuits
	meter   *meter
	grace   time.Duration
	log     *slog.Logger

	// One end after the other; see Stop.
	endIntake, endLast context.CancelFunc
	endWork            context.CancelCauseFunc

	intake sync.WaitGroup // manager and sweeps
	beat   sync.WaitGroup // heartbeat
	stop   sync.Once
	start  sync.Once
}

// New makes a dispatcher; it does nothing until Run or Start.
func New(deps Deps, opt Options) (*Dispatcher, error) {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Grace <= 0 {
		opt.Grace = defaultGrace
	}
	sender, err := NewSender(opt.Sender)
	if err != nil {
		return nil, err
	}
	if deps.Projects == nil {
		deps.Projects = projectsOf(deps.Endpoints)
	}
	counts := newMeter(deps.Tallies, opt.Owner, opt.Logger, opt.Now)
	h := &Handler{
		engine: deps.Engine, endpoints: deps.Endpoints, sender: sender, secrets: deps.Secrets,
		observe: append(Observers{counts}, opt.Observers...), trace: opt.Trace, log: opt.Logger, now: opt.Now,
	}
	m := &Manager{
		source: deps.Source, endpoints: deps.Endpoints, engine: deps.Engine, handler: h, pool: NewPool(opt.Pool),
		log: opt.Logger, nudges: make(chan struct{}, 1),
	}
	m.hosts = newHosts(m.pool.PerEndpoint())
	m.shares = newShares(deps.Quotas, opt.Owner, m.pool, opt.Logger, m.nudge)
	m.held = newHoldings(m.pool.Bytes(), m.pool.Read, opt.Now, m.nudge)
	m.circuits = newCircuits(deps.Circuits, deps.Endpoints, opt.Owner, opt.Logger, opt.Now, m.nudge)
	return &Dispatcher{
		breaks: m.circuits, sender: sender, handler: h, manager: m, pool: m.pool, shares: m.shares, meter: counts,
		sweeper: NewSweeper(deps.Keeper, deps.Projects, opt.Logger), grace: opt.Grace, log: opt.Logger,
	}, nil
}

func projectsOf(eps Endpoints) func() []string {
	return func() []string {
		var out []string
		for _, ep := range eps.Endpoints("") {
			out = append(out, ep.Project)
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
}

// Start begins to deliver. ctx gives its values only; end it with Stop. Only
// the first call counts.
func (d *Dispatcher) Start(ctx context.Context) {
	d.start.Do(func() { d.begin(context.WithoutCancel(ctx)) })
}

func (d *Dispatcher) begin(ctx context.Context) {
	last, endLast := context.WithCancel(ctx)
	work, endWork := context.WithCancelCause(last)
	intake, endIntake := context.WithCancel(work)
	d.endLast, d.endWork, d.endIntake = endLast, endWork, endIntake
	d.manager.last, d.manager.work = last, work

	// Before the first attempt: a lease counts only while its owner lives.
	d.sweeper.beat(last)
	d.breaks.learn(last) // what is down is not called
	d.beat.Go(func() { d.sweeper.Beat(last) })
	d.beat.Go(func() { d.shares.run(last) })
	d.beat.Go(func() { d.meter.run(last) })
	d.beat.Go(func() { d.breaks.run(last) })
	d.intake.Go(func() { d.sweeper.Run(intake) })
	d.intake.Go(func() { d.manager.run(intake) })
}

// Stop ends deliveries: what has not begun goes back to the queue, attempts
// in flight may end until ctx does, then they are interrupted and settled as
// to be retried. It returns when every goroutine has ended, with ctx's error
// if attempts had to be interrupted.
func (d *Dispatcher) Stop(ctx context.Context) error {
	d.start.Do(func() {}) // never started: nothing to stop
	var err error
	d.stop.Do(func() {
		if d.endIntake != nil {
			err = d.drain(ctx)
		}
		d.sender.Close()
	})
	return err
}

var errInterrupted = errors.New("attempts in flight were interrupted")

func (d *Dispatcher) drain(ctx context.Context) error {
	d.endIntake()
	d.intake.Wait() // consumers are stopped: no delivery comes any more
	d.manager.tasks.close()
	var err error
	if !d.manager.tasks.wait(ctx) {
		err = errors.Join(errInterrupted, ctx.Err())
		d.log.WarnContext(ctx, "grace is over, interrupting attempts", "in_flight", d.handler.InFlight())
		d.endWork(ErrShutdown)
		final, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleGrace)
		d.manager.tasks.wait(final)
		cancel()
	}
	d.endWork(ErrShutdown)
	d.endLast()
	d.manager.tasks.wait(context.WithoutCancel(ctx)) // every step obeys its context
	d.beat.Wait()
	return err
}

// Run delivers until ctx ends, and then stops with the grace of its options.
func (d *Dispatcher) Run(ctx context.Context) error {
	d.Start(ctx)
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.grace)
	defer cancel()
	return d.Stop(stop)
}

// Abort ends the running attempt of a cancelled task, if it runs here.
func (d *Dispatcher) Abort(id task.ID) { d.handler.Abort(id) }

// InFlight is the number of deliveries being worked.
func (d *Dispatcher) InFlight() int { return d.handler.InFlight() }
