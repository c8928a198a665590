package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

// Bounds of one request. A submission may wait for the broker's confirm, for
// which the gateway has 10 s.
const (
	requestLimit = 30 * time.Second
	maxAnswer    = 8 << 20
)

// Object is JSON as it comes.
type Object map[string]any

func (o Object) text(name string) string {
	s, _ := o[name].(string)
	return s
}

// Client speaks to the gateways of an installation, in turn. It knows the API
// by its document only.
type Client struct {
	Bases []string
	Key   string
	HTTP  *http.Client

	turn atomic.Uint64
}

// NewClient makes one whose connections do not depend on others'.
func NewClient(bases []string, key string) *Client {
	return &Client{Bases: bases, Key: key, HTTP: &http.Client{
		Timeout:   requestLimit,
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second},
	}}
}

// Answer is what came back.
type Answer struct {
	status int
	header http.Header
	body   []byte
}

func (a Answer) object() (o Object) {
	_ = json.Unmarshal(a.body, &o) // what is no object has no members
	return o
}

// again tells whether the same request makes sense a little later.
func (a Answer) again() bool {
	switch a.status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests:
		return true
	case http.StatusConflict: // a copy of it is being accepted
		return a.object().text("code") == "in_progress"
	}
	return false
}

// pause is what the server asks for, within what a test can wait.
func (a Answer) pause(least, most time.Duration) time.Duration {
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil {
		return least
	}
	return min(max(least, time.Duration(seconds)*time.Second), most)
}

// Do makes one request to the next gateway. An error means that there was no
// whole answer.
func (c *Client) Do(ctx context.Context, method, path string, body any, header ...string) (Answer, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return Answer{}, err
		}
		content = bytes.NewReader(b)
	}
	base := c.Bases[int(c.turn.Add(1)%uint64(len(c.Bases)))]
	r, err := http.NewRequestWithContext(ctx, method, base+path, content)
	if err != nil {
		return Answer{}, err
	}
	r.Header.Set("Authorization", "Bearer "+c.Key)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.HTTP.Do(r)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return Answer{}, err
	}
	return Answer{status: resp.StatusCode, header: resp.Header, body: b}, nil
}

// Try repeats a request until it has an answer that does not ask for a
// repeat, or the context ends.
func (c *Client) Try(ctx context.Context, method, path string, body any, header ...string) (Answer, error) {
	var last error
	for {
		a, err := c.Do(ctx, method, path, body, header...)
		if err == nil && !a.again() {
			return a, nil
		}
		if last = err; err == nil {
			last = fmt.Errorf("status %d: %s", a.status, a.body)
		}
		if pause(ctx, a.pause(100*time.Millisecond, time.Second)) != nil {
			return Answer{}, fmt.Errorf("%s %s: %w", method, path, errors.Join(context.Cause(ctx), last))
		}
	}
}

// Want is Try for a request that must succeed.
func (c *Client) Want(ctx context.Context, method, path string, body any) (Object, error) {
	a, err := c.Try(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	if a.status/100 != 2 {
		return nil, fmt.Errorf("%s %s: status %d: %s", method, path, a.status, a.body)
	}
	return a.object(), nil
}

// List calls each for every task of an endpoint.
func (c *Client) List(ctx context.Context, endpoint string, each func(Object)) error {
	for cursor := ""; ; {
		query := url.Values{"endpoint": {endpoint}, "limit": {"100"}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		page, err := c.Want(ctx, http.MethodGet, "/v1/tasks?"+query.Encode(), nil)
		if err != nil {
			return err
		}
		tasks, _ := page["data"].([]any)
		for _, t := range tasks {
			if one, ok := t.(map[string]any); ok {
				each(one)
			}
		}
		if cursor = page.text("next_cursor"); cursor == "" {
			return nil
		}
	}
}

// pause waits, or returns why not.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
