package admission_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/internal/admission"
	"github.com/taskgate/taskgate/internal/task"
)

// meter is a store that several gateways fill.
type meter struct {
	mu    sync.Mutex
	usage task.Usage
	looks int
	away  bool
}

func (m *meter) Usage(context.Context, string) (task.Usage, error) {
	m.mu.Lock()
	m.looks++
	u, away := m.usage, m.away
	m.mu.Unlock()
	<-time.After(time.Millisecond)
	if away {
		return task.Usage{}, errors.New("away")
	}
	return u, nil
}

func (m *meter) add(u task.Usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.usage = m.usage.Add(u)
}

func TestQuotas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &meter{}
		q := admission.NewQuotas(m)
		may := task.Quotas{WaitingTasks: 100, PayloadBytes: 10_000}
		submit := func(bytes int64) *admission.Excess {
			e := q.Admit(t.Context(), "p", may, bytes)
			if e == nil {
				m.add(task.Usage{WaitingTasks: 1, WaitingBytes: bytes})
			}
			return e
		}
		// All at once: not one too many by way of this gateway.
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() { submit(1) })
		}
		wg.Wait()
		if n := m.usage.WaitingTasks; n != 100 {
			t.Errorf("%d accepted of 100", n)
		}
		if e := submit(1); e == nil || *e != (admission.Excess{Quota: "waiting_tasks", Used: 100, Most: 100}) {
			t.Errorf("%+v", e)
		}
		if m.looks > 3 {
			t.Errorf("%d looks", m.looks)
		}
		// As soon as tasks have ended more may come.
		m.add(task.Usage{WaitingTasks: -50, WaitingBytes: -50})
		<-time.After(time.Second)
		if e := submit(9000); e != nil {
			t.Errorf("%+v", e)
		}
		if e := submit(1000); e == nil || e.Quota != "payload_bytes" || e.Used != 9050 || e.Most != 10_000 {
			t.Errorf("%+v", e)
		}
		if e := submit(900); e != nil {
			t.Errorf("what fits is refused: %+v", e)
		}
	})
}

// Without the store: what was seen, and what came in since.
func TestQuotasWithoutTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &meter{usage: task.Usage{WaitingTasks: 60}}
		q := admission.NewQuotas(m)
		may := task.Quotas{WaitingTasks: 100}
		q.Full(t.Context(), "p", may)
		m.away = true
		passed := 0
		for range 200 {
			if q.Admit(t.Context(), "p", may, 1) == nil {
				passed++
			}
			<-time.After(100 * time.Millisecond)
		}
		if passed != 40 {
			t.Errorf("%d passed while the store was away", passed)
		}
	})
}

// Payloads of failed tasks never take more than their half.
func TestQuotasKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := admission.NewQuotas(&meter{})
		may := task.Quotas{WaitingTasks: 100, PayloadBytes: 1000}
		kept := 0
		for range 20 {
			if q.Keeps(t.Context(), "p", may, 100) {
				kept++
			}
		}
		if kept != 5 {
			t.Errorf("%d of 100 bytes kept within 500", kept)
		}
		if e := q.Admit(t.Context(), "p", may, 100); e != nil {
			t.Errorf("dead letters keep the project from submitting: %+v", e)
		}
	})
}
