package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/taskgate/taskgate/internal/config"
)

// maxEcho bounds what the echo handler reads and gives back.
const maxEcho = 8 << 20

// welcome prints, for a person, what to paste into the next terminal.
func (a *App) welcome(ctx context.Context) error {
	if a.cfg.Role != config.Dev {
		return nil
	}
	target := "http://127.0.0.1:3000/your-handler"
	if a.cfg.Echo {
		var err error
		if target, err = a.echo(ctx); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(a.stdout, lines, a.baseURL(), target, a.cfg.DataDir)
	return err
}

// lines is the first thing a new user sees. Ten lines, ready to paste.
const lines = `
Taskgate is ready at %[1]s and keeps its data in %[3]s. Paste these into another terminal:

  TG=%[1]s
  # an endpoint: where tasks go (with --echo: the built-in one)
  curl -sX PUT $TG/v1/endpoints/echo -H 'Content-Type: application/json' -d '{"url": "%[2]s"}'; echo
  # a task: it is durable when this answers
  ID=$(curl -s $TG/v1/tasks -H 'Content-Type: application/json' \
       -d '{"endpoint": "echo", "payload": {"hello": "world"}}' | sed 's/.*"id": *"\([^"]*\)".*/\1/'); echo $ID
  # its end by long-poll, and the handler's answer itself
  curl -s "$TG/v1/tasks/$ID?wait=30s"; echo
  curl -s "$TG/v1/tasks/$ID/result"; echo

`

// echo starts a handler that answers with what it gets, on the port after
// the API's, so that an endpoint registered yesterday still finds it.
func (a *App) echo(ctx context.Context) (url string, err error) {
	srv := &http.Server{
		ReadHeaderTimeout: adminTimeout, ReadTimeout: time.Minute, WriteTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
			_, _ = io.Copy(w, io.LimitReader(r.Body, maxEcho))
		}),
	}
	addr, err := a.listen(ctx, "echo", nextPort(a.addr), srv, nil)
	if err != nil {
		// Somebody has that port: any other will do for this time.
		if addr, err = a.listen(ctx, "echo", "127.0.0.1:0", srv, nil); err != nil {
			return "", err
		}
	}
	return "http://" + addr + "/", nil
}

// nextPort is the port after addr's, on loopback.
func nextPort(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "127.0.0.1:0"
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return "127.0.0.1:0"
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(n+1))
}
