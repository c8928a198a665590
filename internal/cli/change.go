package cli

import (
	"context"
	"net/http"
	"time"

	"github.com/taskgate/taskgate/client"
)

// cancelCmd is "taskgate cancel".
type cancelCmd struct {
	ID []string `arg:"" help:"Ids of tasks; without any, --endpoint and the like tell which." name:"id" optional:""`

	bulkFlags
}

// Help is the command's longer help.
func (*cancelCmd) Help() string { return bulkHelp }

// Run cancels every task.
func (c *cancelCmd) Run(ctx context.Context, s *session) error {
	if bulk, err := c.asked(c.ID); bulk || err != nil {
		return c.run(ctx, s, err, func(api *client.Client, body client.BulkRequest) (*http.Response, error) {
			return api.CancelTasks(ctx, body)
		})
	}
	return s.each(ctx, c.ID, func(id string) error {
		return s.change(ctx, call{repeatable: true}, func(api *client.Client) (*http.Response, error) { return api.CancelTask(ctx, id) })
	})
}

// retryCmd is "taskgate retry".
type retryCmd struct {
	ID []string `arg:"" help:"Ids of tasks; without any, --endpoint and the like tell which." name:"id" optional:""`

	bulkFlags
}

// Help is the command's longer help.
func (*retryCmd) Help() string {
	return bulkHelp + " Without --state the failed tasks are meant."
}

// Run starts every task's next generation.
func (c *retryCmd) Run(ctx context.Context, s *session) error {
	if bulk, err := c.asked(c.ID); bulk || err != nil {
		return c.run(ctx, s, err, func(api *client.Client, body client.BulkRequest) (*http.Response, error) {
			return api.RetryTasks(ctx, body)
		})
	}
	until := deadline(time.Now(), c.Timeout)
	return s.each(ctx, c.ID, func(id string) error {
		// Not repeatable: a second one would start another generation.
		retry := func(api *client.Client) (*http.Response, error) { return api.RetryTask(ctx, id) }
		if !c.Wait {
			return s.change(ctx, call{}, retry)
		}
		if _, err := s.send(ctx, call{}, retry); err != nil {
			return err
		}
		return s.waitAndPrint(ctx, id, until, false, false)
	})
}

// rescheduleCmd is "taskgate reschedule".
type rescheduleCmd struct {
	ID    []string `arg:"" help:"Ids of tasks that are scheduled, queued or retrying." name:"id"`
	Delay string   `help:"Start not before this duration has passed from now." placeholder:"DURATION" required:"" xor:"start"`
	RunAt string   `help:"Start not before this time (RFC 3339)." placeholder:"TIME" required:"" xor:"start"`
}

// Run moves the start of every task.
func (c *rescheduleCmd) Run(ctx context.Context, s *session) error {
	body := client.Reschedule{Delay: opt(c.Delay), RunAt: opt(c.RunAt)}
	return s.each(ctx, c.ID, func(id string) error {
		return s.change(ctx, call{}, func(api *client.Client) (*http.Response, error) { return api.RescheduleTask(ctx, id, body) })
	})
}
