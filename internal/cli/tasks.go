package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/taskgate/taskgate/client"
)

// getCmd is "taskgate get".
type getCmd struct {
	ID        []string `arg:"" help:"Ids of tasks." name:"id"`
	Attempts  bool     `help:"Show the attempts instead."                              xor:"show"`
	Callbacks bool     `help:"Show what told of the task's ends instead." xor:"show"`
	Result    bool     `help:"Print the handler's answer only, byte for byte." xor:"show"`
}

// Run shows every task.
func (c *getCmd) Run(ctx context.Context, s *session) error {
	return s.each(ctx, c.ID, func(id string) error {
		switch {
		case c.Result:
			return s.printResult(ctx, id)
		case c.Attempts:
			return s.printAttempts(ctx, id)
		case c.Callbacks:
			return s.printCallbacks(ctx, id)
		}
		r, t, err := s.task(ctx, id, 0)
		if err != nil {
			return err
		}
		return s.printDoc(r.body, func() (string, error) { return taskBlock(t), nil })
	})
}

// printResult prints the handler's answer, whatever it is.
func (s *session) printResult(ctx context.Context, id string) error {
	r, err := s.send(ctx, call{repeatable: true}, func(api *client.Client) (*http.Response, error) {
		return api.GetTaskResult(ctx, id, nil)
	})
	if err != nil {
		return err
	}
	if r.status == http.StatusAccepted {
		t, err := decode[client.Task](r)
		if err != nil {
			return err
		}
		return &failure{exit: ExitNo, Code: "no_result", Title: "There is no result yet", Detail: "the task is " + stateText(t)}
	}
	return s.print(string(r.body))
}

func (s *session) printAttempts(ctx context.Context, id string) error {
	return show(ctx, s, call{repeatable: true}, func(api *client.Client) (*http.Response, error) {
		return api.ListTaskAttempts(ctx, id)
	}, attemptTable)
}

func (s *session) printCallbacks(ctx context.Context, id string) error {
	return show(ctx, s, call{repeatable: true}, func(api *client.Client) (*http.Response, error) {
		return api.ListTaskCallbacks(ctx, id)
	}, callbackTable)
}

func callbackTable(list client.CallbackTaskList) string {
	rows := make([][]string, len(list.Data))
	for i, c := range list.Data {
		to, why, status := "", "", ""
		switch {
		case c.Url != nil:
			to = *c.Url
		case c.Endpoint != nil:
			to = *c.Endpoint
		}
		if c.Reason != nil {
			why = string(*c.Reason)
		}
		if c.LastStatus != nil {
			status = strconv.Itoa(*c.LastStatus)
		}
		rows[i] = []string{c.Id, string(c.State), why, strconv.Itoa(c.Attempts), status, to}
	}
	return table([]string{"ID", "STATE", "REASON", "ATTEMPTS", "STATUS", "TO"}, rows)
}

// change makes a request that is answered with the task.
func (s *session) change(ctx context.Context, c call, request func(*client.Client) (*http.Response, error)) error {
	return show(ctx, s, c, request, taskLine)
}

// filter selects tasks of a list.
type filter struct {
	Endpoint string            `help:"Only tasks of this endpoint."                                      placeholder:"NAME"`
	State    []string          `enum:"scheduled,queued,running,retrying,awaiting,succeeded,failed,cancelled,expired" help:"Only tasks in this state; repeat it, or separate states by commas." placeholder:"STATE"`
	Label    map[string]string `help:"Only tasks with this label; repeated, all must match."             mapsep:"none"      placeholder:"KEY=VALUE"`
}

// params is the filter in the API's words.
func (f filter) params() client.ListTasksParams {
	p := client.ListTasksParams{Endpoint: opt(f.Endpoint)}
	for _, state := range f.State {
		p.State = append(p.State, client.TaskState(state))
	}
	for key, value := range f.Label {
		p.Label = append(p.Label, key+":"+value)
	}
	return p
}

// pageSize is the largest page that the API gives.
const pageSize = 500

// listCmd is "taskgate list".
type listCmd struct {
	filter

	After  string `help:"Only tasks accepted since this time (RFC 3339), or in this last duration, such as 15m." placeholder:"TIME"`
	Before string `help:"Only tasks accepted before this time, or more than this duration ago." placeholder:"TIME"`
	Limit  int    `default:"50" help:"How many at most; 0 for all." placeholder:"N"`
}

// Run lists tasks page by page.
func (c *listCmd) Run(ctx context.Context, s *session) error {
	params := c.params()
	for _, at := range []struct {
		flag, value string
		to          **string
	}{{"--after", c.After, &params.CreatedAfter}, {"--before", c.Before, &params.CreatedBefore}} {
		text, err := instant(at.flag, at.value, time.Now())
		if err != nil {
			return err
		}
		*at.to = opt(text)
	}
	if c.Limit < 0 {
		return usage("--limit: want a number from 0")
	}
	var rows [][]string
	left := c.Limit
	err := s.pages(ctx, params, c.Limit, func(doc []byte, t client.Task) (bool, error) {
		if s.asJSON {
			if err := s.print(string(doc) + "\n"); err != nil {
				return false, err
			}
		} else {
			rows = append(rows, []string{t.Id, string(t.State), reason(t), t.Endpoint, fmt.Sprint(t.Attempts), stamp(t.CreatedAt)})
		}
		left--
		return left != 0, nil
	})
	if s.asJSON || err != nil && len(rows) == 0 {
		return err
	}
	return errors.Join(s.print(table([]string{"ID", "STATE", "REASON", "ENDPOINT", "ATTEMPTS", "CREATED"}, rows)), err)
}

func reason(t client.Task) string {
	if t.Reason == nil {
		return ""
	}
	return string(*t.Reason)
}

// instant reads a time, or a duration before now.
func instant(flag, value string, now time.Time) (string, error) {
	if value == "" {
		return "", nil
	}
	if _, err := time.Parse(time.RFC3339, value); err == nil {
		return value, nil
	}
	ago, err := age(value)
	if err != nil || ago < 0 {
		return "", usage("%s %q: want a time such as 2026-01-02T15:04:05Z, or a duration such as 15m", flag, value)
	}
	return now.Add(-ago).UTC().Format(time.RFC3339Nano), nil
}

// age reads a duration of Go's units, or whole days.
func age(value string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(value, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(value)
}
