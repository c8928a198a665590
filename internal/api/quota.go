package api

import (
	"context"

	"github.com/taskgate/taskgate/internal/admission"
	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

func wantedRate(in *gen.Rate) task.Rate {
	if in == nil {
		return task.Rate{}
	}
	r := task.Rate{PerSecond: in.PerSecond}
	if in.Burst != nil {
		r.Burst = *in.Burst
	}
	return r.WithBurst()
}

func viewRate(r task.Rate) *gen.Rate {
	if r.IsZero() {
		return nil
	}
	return &gen.Rate{PerSecond: r.PerSecond, Burst: &r.Burst}
}

// rateOf is the rate of a key that who makes: their own when none is asked
// for. What would be more than that is a fault.
func rateOf(who *auth.Principal, in *gen.Rate, fault func(field, detail string)) task.Rate {
	if in == nil {
		return who.Rate
	}
	r := wantedRate(in)
	if !r.Within(who.Rate) {
		fault("rate", "must not be more than that of the key that asks")
	}
	return r
}

func wantedQuotas(in *gen.Quotas) task.Quotas {
	q := task.Quotas{Rate: wantedRate(in.Rate)}
	if in.WaitingTasks != nil {
		q.WaitingTasks = *in.WaitingTasks
	}
	if in.PayloadBytes != nil {
		q.PayloadBytes = *in.PayloadBytes
	}
	return q
}

func viewQuotas(q task.Quotas) *gen.Quotas {
	return &gen.Quotas{
		Rate: viewRate(q.Rate), WaitingTasks: unlessZero(q.WaitingTasks), PayloadBytes: unlessZero(q.PayloadBytes),
	}
}

// admitTask counts a task against its project's quotas.
func (s *Server) admitTask(ctx context.Context, sub *lifecycle.Submission) error {
	if s.Quotas == nil {
		return nil
	}
	return excess(s.Quotas.Admit(ctx, sub.Project, s.quotasOf(sub.Project), int64(len(sub.Payload))))
}

// fullFor is the refusal of what brings tasks to a project that has as much as
// it may have.
func (s *Server) fullFor(ctx context.Context, project string) error {
	if s.Quotas == nil {
		return nil
	}
	return excess(s.Quotas.Full(ctx, project, s.quotasOf(project)))
}

// inWhat are the quotas in words.
var inWhat = map[string]string{
	admission.QuotaTasks: "%s: the project has %d tasks that have not ended, and may have %d",
	admission.QuotaBytes: "%s: the project's payloads have %d bytes, and may have %d",
}

func excess(e *admission.Excess) error {
	if e == nil {
		return nil
	}
	return task.Errorf(task.CodeQuotaExceeded, inWhat[e.Quota], e.Quota, e.Used, e.Most)
}
