package results

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

type calls []string

func (c *calls) Called(op string, took time.Duration, err error) {
	if took < 0 {
		err = errors.New("negative time")
	}
	*c = append(*c, op+" "+string(task.CodeOf(err)))
}

// TestObserveEveryCall: no method is forgotten, and a new one is not either.
func TestObserveEveryCall(t *testing.T) {
	lasting := []string{"Subscribe", "Close"}
	contract := reflect.TypeFor[Driver]()
	for m := range contract.Methods() {
		if slices.Contains(lasting, m.Name) {
			continue
		}
		var told calls
		d := reflect.ValueOf(Observe(nil, &told, nil)) // nil: each call panics under it
		args := make([]reflect.Value, m.Type.NumIn())
		for i := range args {
			args[i] = reflect.Zero(m.Type.In(i))
		}
		if args[0].Type() == reflect.TypeFor[context.Context]() {
			args[0] = reflect.ValueOf(t.Context())
		}
		func() {
			defer func() { _ = recover() }()
			d.MethodByName(m.Name).Call(args)
		}()
		if want := snake(m.Name) + " "; len(told) != 1 || told[0] != want {
			t.Errorf("%s: told %q, want %q", m.Name, told, want)
		}
	}
}

var capital = regexp.MustCompile("[A-Z]")

func snake(s string) string {
	return strings.TrimPrefix(strings.ToLower(capital.ReplaceAllString(s, "_$0")), "_")
}

type awayDriver struct {
	Driver
	ctx context.Context
}

func (d *awayDriver) Ready(ctx context.Context) error {
	d.ctx = ctx
	return fmt.Errorf("ping: %w", ErrUnavailable)
}

func (d *awayDriver) Accepted(ctx context.Context, _ task.ID) error {
	d.ctx = ctx
	return nil
}

// TestObserve: outcomes carry codes, and a tracer follows each call.
func TestObserve(t *testing.T) {
	type mark struct{}
	var told calls
	var spans []string
	inner := &awayDriver{}
	s := NewStore(Observe(inner, &told, func(ctx context.Context, op string) (context.Context, func(error)) {
		return context.WithValue(ctx, mark{}, op), func(err error) { spans = append(spans, op+" "+string(task.CodeOf(err))) }
	}))
	if err := s.Ready(t.Context()); task.CodeOf(err) != task.CodeUnavailable || inner.ctx.Value(mark{}) != "ready" {
		t.Errorf("%v, in the context %v", err, inner.ctx.Value(mark{}))
	}
	if err := s.Accepted(t.Context(), "id"); err != nil || inner.ctx.Value(mark{}) != "accepted" {
		t.Errorf("%v, in the context %v", err, inner.ctx.Value(mark{}))
	}
	want := []string{"ready unavailable", "accepted "}
	if !slices.Equal(told, want) || !slices.Equal(spans, want) {
		t.Errorf("told %q, followed %q", told, spans)
	}
}

// TestObserveAllocs: being told costs no allocation.
func TestObserveAllocs(t *testing.T) {
	var o counting
	d := Observe(&awayDriver{}, &o, nil)
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { _ = d.Accepted(ctx, "id") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

type counting int

func (c *counting) Called(string, time.Duration, error) { *c++ }
