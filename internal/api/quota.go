package api

import (
	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/auth"
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
