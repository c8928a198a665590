package cli

import (
	"context"
	"net/http"
	"time"

	"github.com/taskgate/taskgate/client"
)

// healthCmd is "taskgate health".
type healthCmd struct {
	URL     string        `arg:"" help:"Base URL of the server, or of its admin address; --server when absent." optional:""`
	Timeout time.Duration `default:"5s" help:"How long to wait for the answer." placeholder:"DURATION"`
}

// Help is the command's longer help.
func (*healthCmd) Help() string {
	return `Asks /readyz once. The exit code is 0 when the server can take requests, else 3: made for the health checks of
containers that have no other program.`
}

// Run asks once.
func (c *healthCmd) Run(ctx context.Context, s *session) error {
	if c.URL != "" {
		s.opt.Server = c.URL
	}
	_, err := s.send(ctx, call{once: true, open: true, limit: c.Timeout}, func(api *client.Client) (*http.Response, error) {
		return api.GetReadiness(ctx, nil)
	})
	if statusOf(err) == http.StatusServiceUnavailable {
		return &failure{exit: ExitUnavailable, Code: "not_ready", Title: "The server is not ready"}
	}
	if err != nil {
		return err
	}
	return s.printDoc([]byte(`{"status":"ok"}`), func() (string, error) { return "ready\n", nil })
}
