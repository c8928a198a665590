package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/taskgate/taskgate/client"
)

// page is one page of tasks, each as the server sent it and decoded.
type page struct {
	docs  []json.RawMessage
	tasks []client.Task
	next  string
	at    time.Time // the server's clock, to the second
}

// page gets one page of the list.
func (s *session) page(ctx context.Context, params client.ListTasksParams) (page, error) {
	r, err := s.send(ctx, call{repeatable: true}, func(api *client.Client) (*http.Response, error) {
		return api.ListTasks(ctx, &params)
	})
	if err != nil {
		return page{}, err
	}
	list, err := decode[struct {
		Data []json.RawMessage `json:"data"`
		Next string            `json:"next_cursor"`
	}](r)
	if err != nil {
		return page{}, err
	}
	out := page{docs: list.Data, next: list.Next, at: time.Now()}
	if at, err := http.ParseTime(r.header.Get("Date")); err == nil {
		out.at = at
	}
	for _, doc := range list.Data {
		t, err := decode[client.Task](reply{body: doc})
		if err != nil {
			return page{}, err
		}
		out.tasks = append(out.tasks, t)
	}
	return out, nil
}

// pages calls each for the tasks of a list until it returns false. want is
// how many will be taken, 0 for all.
func (s *session) pages(ctx context.Context, params client.ListTasksParams, want int, each func(doc []byte, t client.Task) (bool, error)) error {
	limit := pageSize
	if want > 0 {
		limit = min(want, pageSize)
	}
	params.Limit = &limit
	for {
		p, err := s.page(ctx, params)
		if err != nil {
			return err
		}
		for i, t := range p.tasks {
			if more, err := each(compact(p.docs[i]), t); err != nil || !more {
				return err
			}
		}
		if p.next == "" {
			return nil
		}
		params.Cursor = &p.next
	}
}

// docs lists documents of any kind: as JSON one a line, for people as a
// table. fetch gets a page; row makes a row of a document.
func (s *session) docs(ctx context.Context, head []string, fetch func(api *client.Client, limit *int, cursor *string) (*http.Response, error),
	row func(doc json.RawMessage) ([]string, error),
) error {
	var rows [][]string
	var cursor *string
	limit := pageSize
	for {
		r, err := s.send(ctx, call{repeatable: true}, func(api *client.Client) (*http.Response, error) { return fetch(api, &limit, cursor) })
		if err != nil {
			return err
		}
		list, err := decode[struct {
			Data []json.RawMessage `json:"data"`
			Next string            `json:"next_cursor"`
		}](r)
		if err != nil {
			return err
		}
		for _, doc := range list.Data {
			if s.asJSON {
				if err := s.print(string(compact(doc)) + "\n"); err != nil {
					return err
				}
				continue
			}
			cells, err := row(doc)
			if err != nil {
				return err
			}
			rows = append(rows, cells)
		}
		if list.Next == "" {
			break
		}
		cursor = &list.Next
	}
	if s.asJSON {
		return nil
	}
	return s.print(table(head, rows))
}
