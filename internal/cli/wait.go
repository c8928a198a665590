package cli

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/taskgate/taskgate/client"
)

const (
	// slice is one long-poll: shorter than the minute after which proxies like
	// to end a silent request.
	slice = 50 * time.Second
	// sliceShown is the same while a person looks on: the state that is shown
	// is as old as that at most.
	sliceShown = 5 * time.Second
	// sliceLeast is the least time between two long-polls, when the server
	// ends them early.
	sliceLeast = time.Second
	// pollMargin is how long the answer to a long-poll may take beyond the wait.
	pollMargin = 15 * time.Second
)

// waitCmd is "taskgate wait".
type waitCmd struct {
	ID      []string      `arg:"" help:"Ids of tasks." name:"id"`
	Result  bool          `help:"Print the handlers' answers only, byte for byte."`
	Timeout time.Duration `help:"Stop waiting after this time (exit code 4); the tasks go on." placeholder:"DURATION"`
}

// Help is the command's longer help.
func (*waitCmd) Help() string {
	return `Waits by long-poll for as long as it takes, and prints each task when it has ended, in the order of the arguments.
The exit code is 1 when one of them ended otherwise than succeeded.`
}

// Run waits for every task.
func (c *waitCmd) Run(ctx context.Context, s *session) error {
	until := deadline(time.Now(), c.Timeout)
	return s.each(ctx, c.ID, func(id string) error { return s.waitAndPrint(ctx, id, until, c.Result, false) })
}

// waitAndPrint waits for a task's end and prints the task, its result alone,
// or its id alone.
func (s *session) waitAndPrint(ctx context.Context, id string, until time.Time, result, idOnly bool) error {
	r, t, err := s.await(ctx, id, until)
	if err != nil {
		return err
	}
	late := !final(t.State)
	switch {
	case late:
		err = s.report(id, &failure{
			exit: ExitTimeout, Code: "timeout", Title: "The time is over", Detail: "the task is " + stateText(t) + " and goes on",
		}).err()
	case t.State != client.TaskStateSucceeded:
		err = quiet(ExitNo)
	}
	switch {
	case result && t.State == client.TaskStateSucceeded:
		return s.printResult(ctx, id)
	case result && !late:
		return &failure{exit: ExitNo, Code: "no_result", Title: "There is no result", Detail: "the task is " + stateText(t)}
	case result:
		return err
	}
	printed := s.printDoc(r.body, func() (string, error) {
		if idOnly {
			return clean(t.Id) + "\n", nil
		}
		return taskBlock(t), nil
	})
	if printed != nil {
		return printed
	}
	return err
}

// err is the exit code as an error without further words.
func (e Exit) err() error { return quiet(e) }

// await long-polls until the task has ended or the time is over, and returns
// it as it is then.
func (s *session) await(ctx context.Context, id string, until time.Time) (reply, client.Task, error) {
	var t client.Task
	r, _, err := s.poll(ctx, id, until, func(wait time.Duration) (reply, bool, string, error) {
		r, got, err := s.task(ctx, id, wait)
		t = got
		return r, final(got.State), fmt.Sprintf("%s, attempts: %d", stateText(got), got.Attempts), err
	})
	return r, t, err
}

// poll long-polls again and again until a thing has ended or the time is over.
func (s *session) poll(ctx context.Context, what string, until time.Time, look func(wait time.Duration) (reply, bool, string, error)) (reply, bool, error) {
	s.progress.show("waiting for " + what)
	for {
		begun := time.Now()
		wait := slice
		if s.progress != nil {
			wait = sliceShown
		}
		if !until.IsZero() {
			wait = max(0, min(wait, until.Sub(begun)))
		}
		r, ended, how, err := look(wait)
		if err != nil || ended || !until.IsZero() && !time.Now().Before(until) {
			return r, ended, err
		}
		s.progress.show("waiting for " + what + ": " + how)
		if err := pause(ctx, min(wait, sliceLeast)-time.Since(begun)); err != nil {
			return reply{}, false, err
		}
	}
}

// task gets a task, waiting for its end if asked.
func (s *session) task(ctx context.Context, id string, wait time.Duration) (reply, client.Task, error) {
	params := client.GetTaskParams{Wait: waitParam(wait)}
	r, err := s.send(ctx, call{repeatable: true, limit: wait + pollMargin}, func(api *client.Client) (*http.Response, error) {
		return api.GetTask(ctx, id, &params)
	})
	if err != nil {
		return r, client.Task{}, err
	}
	t, err := decode[client.Task](r)
	return r, t, err
}

// waitParam is a wait in the API's words; nil for none.
func waitParam(wait time.Duration) *string {
	if wait <= 0 {
		return nil
	}
	return opt(fmt.Sprintf("%dms", max(1, wait.Milliseconds())))
}

// pause waits for a while, or for the end of the command.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// final: the task has ended.
func final(state client.TaskState) bool {
	switch state {
	case client.TaskStateSucceeded, client.TaskStateFailed, client.TaskStateCancelled, client.TaskStateExpired:
		return true
	default:
		return false
	}
}
