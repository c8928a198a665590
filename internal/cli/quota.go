package cli

import (
	"strconv"
	"strings"

	"github.com/taskgate/taskgate/client"
)

func errRate(text string) error {
	return usage(`%q is no rate: want a number a second, or that and a burst, as "20" or "20/40"`, text)
}

// parseRate reads "20" or "20/40"; nil for "".
func parseRate(text string) (*client.Rate, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // none was given
	}
	perSecond, burst, both := strings.Cut(text, "/")
	n, err := strconv.ParseFloat(perSecond, 64)
	if err != nil {
		return nil, errRate(text)
	}
	out := &client.Rate{PerSecond: n}
	if both {
		b, err := strconv.Atoi(burst)
		if err != nil {
			return nil, errRate(text)
		}
		out.Burst = &b
	}
	return out, nil
}

// rate is the inverse of parseRate.
func rate(r *client.Rate) string {
	if r == nil {
		return ""
	}
	out := strconv.FormatFloat(r.PerSecond, 'g', -1, 64)
	if r.Burst != nil {
		out += "/" + strconv.Itoa(*r.Burst)
	}
	return out
}

func (c *projectsPutCmd) quotas() (*client.Quotas, error) {
	r, err := parseRate(c.Rate)
	if err != nil || r == nil && c.WaitingTasks == 0 && c.PayloadBytes == 0 {
		return nil, err
	}
	return &client.Quotas{Rate: r, WaitingTasks: opt(c.WaitingTasks), PayloadBytes: opt(c.PayloadBytes)}, nil
}

// quotas shows what may be used, and what is.
func (b *block) quotas(q *client.Quotas, u *client.ProjectUsage) {
	if q == nil {
		return
	}
	b.add("tasks a second", rate(q.Rate))
	var tasks, bytes, kept *int64
	if u != nil {
		sum := u.WaitingBytes + u.KeptBytes
		tasks, bytes, kept = &u.WaitingTasks, &sum, &u.KeptBytes
	}
	b.add("waiting tasks", used(tasks, q.WaitingTasks))
	b.add("payload bytes", used(bytes, q.PayloadBytes))
	if kept != nil {
		b.add("of failed tasks", strconv.FormatInt(*kept, 10))
	}
}

// used is "12 of 100", with the half that is known when the other is not.
func used(n, limit *int64) string {
	switch {
	case limit == nil && n == nil:
		return ""
	case limit == nil:
		return strconv.FormatInt(*n, 10)
	case n == nil:
		return "at most " + strconv.FormatInt(*limit, 10)
	}
	return strconv.FormatInt(*n, 10) + " of " + strconv.FormatInt(*limit, 10)
}
