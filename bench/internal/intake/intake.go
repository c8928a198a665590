// Package intake is the small HTTP front of the bare chain, and of the peers that have none: a
// POST that enqueues, and a long-poll for the result. It has no feature.
package intake

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// Queue is what stands behind the front.
type Queue interface {
	// Enqueue stores the payload durably before it returns. The id it returns is the task's: the
	// one given, or the queue's own.
	Enqueue(ctx context.Context, id string, payload []byte) (string, error)
	// Stored returns the result of a task, false when it has none yet.
	Stored(ctx context.Context, id string) (result []byte, ok bool, err error)
}

// Serve answers until ctx ends, and prints where.
func Serve(ctx context.Context, q Queue, w *Waiters) error {
	e := echo.New()
	e.POST("/tasks", func(c echo.Context) error { return post(c, q) })
	e.GET("/tasks/:id/result", func(c echo.Context) error { return get(c, q, w) })
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second} //nolint:mnd // as every server should
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	fmt.Println("ready http://" + l.Addr().String())
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func post(c echo.Context, q Queue) error {
	payload, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return err
	}
	id, err := q.Enqueue(c.Request().Context(), rand.Text(), payload)
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderLocation, "/tasks/"+id)
	return c.NoContent(http.StatusAccepted)
}

func get(c echo.Context, q Queue, w *Waiters) error {
	wait, err := time.ParseDuration(c.QueryParam("wait"))
	if err != nil {
		return echo.NewHTTPError(http.StatusBadRequest, "wait must be a duration")
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), wait)
	defer cancel()
	id := c.Param("id")
	come := w.Join(id) // before looking: a result that comes in between is not missed
	defer w.Leave(id)
	result, ok, err := q.Stored(ctx, id)
	if err != nil {
		return err
	}
	if !ok {
		select {
		case result = <-come:
		case <-ctx.Done():
			return c.NoContent(http.StatusAccepted)
		}
	}
	if result == nil { // too long to be told: it is stored by now
		if result, _, err = q.Stored(ctx, id); err != nil {
			return err
		}
	}
	return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, result)
}

// Waiters are those who wait for results: one subscription serves them all.
type Waiters struct {
	mu sync.Mutex
	by map[string]chan []byte
	// early keeps results that nobody waits for yet, when there is no store to look into.
	early map[string][]byte
}

// NewWaiters makes an empty set. keepEarly keeps results that come before their waiter.
func NewWaiters(keepEarly bool) *Waiters {
	w := &Waiters{by: map[string]chan []byte{}}
	if keepEarly {
		w.early = map[string][]byte{}
	}
	return w
}

// Join waits for a result from now on. One caller for each id.
func (w *Waiters) Join(id string) <-chan []byte {
	c := make(chan []byte, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if result, ok := w.early[id]; ok {
		delete(w.early, id)
		c <- result
		return c
	}
	w.by[id] = c
	return c
}

// Leave ends the wait.
func (w *Waiters) Leave(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.by, id)
}

// Deliver hands a result to its waiter; nil says that it is stored.
func (w *Waiters) Deliver(id string, result []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := w.by[id]
	switch {
	case ok:
		delete(w.by, id)
		c <- result // has room: one result for each waiter
	case w.early != nil:
		w.early[id] = result
	}
}
