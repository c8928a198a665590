package rig

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskgate/taskgate/bench/internal/spawn"
	"github.com/taskgate/taskgate/bench/internal/wire"
)

// Keys of the installations that live for one run.
const (
	adminKey  = "tg_bench-0123456789abcdef"
	secretKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=" //nolint:gosec // of an installation that lives for one run
)

// Endpoint is the one that tasks go to.
const Endpoint = "bench"

// Taskgate is an installation of ours.
type Taskgate struct {
	run *Run
	// Admin is the admin address by part.
	Admin map[string]string
	parts map[string]*spawn.Process
	args  map[string][]string // of each part, to start it again
	data  string              // folder of the embedded store
	api   string              // host:port
}

// settings are the defaults, but for what a test bench must say: keys, loopback, ports.
func (run *Run) settings() []string {
	env := append(slices.Clone(run.rig.Environ),
		"TASKGATE_ADMIN_KEY="+adminKey, "TASKGATE_SECRET_KEY="+secretKey,
		"TASKGATE_ADMIN_LISTEN=127.0.0.1:0", "TASKGATE_EGRESS_ALLOW=127.0.0.0/8", "TASKGATE_EGRESS_PORTS=any",
		"TASKGATE_LOG_LEVEL=info",
	)
	if run.AMQP != "" {
		env = append(env, "TASKGATE_AMQP_URL="+run.AMQP, "TASKGATE_REDIS_URL="+run.Redis)
	}
	if run.rig.Pprof {
		env = append(env, "TASKGATE_PPROF=true")
	}
	return env
}

func buildServices(ctx context.Context, run *Run) error {
	if err := run.services(ctx, true); err != nil {
		return err
	}
	tg := newTaskgate(run)
	if err := tg.Start(ctx, "dispatcher"); err != nil {
		return err
	}
	if err := tg.Start(ctx, "gateway"); err != nil {
		return err
	}
	return tg.ready(ctx)
}

func buildEmbedded(ctx context.Context, run *Run) error {
	tg := newTaskgate(run)
	tg.args["taskgate"] = []string{"serve", "--data", tg.data}
	if err := tg.Start(ctx, "taskgate"); err != nil {
		return err
	}
	return tg.ready(ctx)
}

// BuildDev makes a system of `taskgate dev`.
func BuildDev() System {
	return System{Name: "dev", Title: "`taskgate dev`", build: func(ctx context.Context, run *Run) error {
		tg := newTaskgate(run)
		tg.args["taskgate"] = []string{"dev", "--data", tg.data}
		return tg.Start(ctx, "taskgate")
	}}
}

func newTaskgate(run *Run) *Taskgate {
	run.Taskgate = &Taskgate{
		run: run, Admin: map[string]string{}, parts: map[string]*spawn.Process{}, args: map[string][]string{},
		data: filepath.Join(run.dir, "data"),
	}
	return run.Taskgate
}

// Start starts a part: gateway, dispatcher or taskgate. A part that was stopped gets its address
// back.
func (tg *Taskgate) Start(ctx context.Context, part string) error {
	env := tg.run.settings()
	if part != "dispatcher" {
		listen := tg.api
		if listen == "" {
			listen = "127.0.0.1:0"
		}
		env = append(env, "TASKGATE_LISTEN="+listen)
	}
	var at struct{ API, Admin string }
	p, _, err := tg.run.part(ctx, spawn.Spec{
		Name: part, Path: filepath.Join(tg.run.rig.Product, part), Args: tg.args[part], Env: env,
	}, func(line string) (string, bool) {
		var said struct{ Msg, API, Admin string }
		ok := json.Unmarshal([]byte(line), &said) == nil && said.Msg == "ready"
		if ok {
			at.API, at.Admin = said.API, said.Admin
		}
		return "", ok
	})
	if err != nil {
		return err
	}
	tg.parts[part], tg.Admin[part] = p, at.Admin
	if at.API != "" {
		tg.api = at.API
	}
	return nil
}

// Stop stops a part as an operator would.
func (tg *Taskgate) Stop(part string) { tg.run.end(tg.parts[part]) }

// Front is the part that has the API.
func (tg *Taskgate) Front() string {
	if tg.parts["gateway"] != nil {
		return "gateway"
	}
	return "taskgate"
}

// Restart stops the front, starts it again, and tells how long it took from its start until
// /readyz says yes.
func (tg *Taskgate) Restart(ctx context.Context) (time.Duration, error) {
	front := tg.Front()
	tg.Stop(front)
	begun := time.Now()
	if err := tg.Start(ctx, front); err != nil {
		return 0, err
	}
	for {
		err := tg.Call(ctx, http.MethodGet, "/readyz", nil)
		if err == nil {
			return time.Since(begun), nil
		}
		select {
		case <-time.After(10 * time.Millisecond): //nolint:mnd // finer than the bar by far
		case <-ctx.Done():
			return 0, err
		}
	}
}

// ready registers the endpoint and makes the target.
func (tg *Taskgate) ready(ctx context.Context) error {
	run := tg.run
	run.hold = func(ctx context.Context) error { return tg.Pause(ctx, Endpoint, true) }
	run.release = func(ctx context.Context) error { return tg.Pause(ctx, Endpoint, false) }
	run.Target = wire.Target{
		Kind: wire.HTTP, Base: "http://" + tg.api, Submit: "/v1/tasks", Endpoint: Endpoint, Idempotency: true,
		Header: map[string]string{"Authorization": "Bearer " + adminKey},
	}
	return tg.Register(ctx, Endpoint, run.HandlerURL+"/")
}

// Register makes an endpoint.
func (tg *Taskgate) Register(ctx context.Context, name, url string) error {
	return tg.Call(ctx, http.MethodPut, "/v1/endpoints/"+name, map[string]any{"url": url})
}

// Pause pauses or resumes an endpoint.
func (tg *Taskgate) Pause(ctx context.Context, name string, paused bool) error {
	verb := "resume"
	if paused {
		verb = "pause"
	}
	return tg.Call(ctx, http.MethodPost, "/v1/endpoints/"+name+"/"+verb, nil)
}

// Call makes a request of the API; anything but a 2xx is an error.
func (tg *Taskgate) Call(ctx context.Context, method, path string, body any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+tg.api+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	return err
}

// Profile writes a profile of a part to a file: "profile?seconds=10", "allocs".
func (tg *Taskgate) Profile(ctx context.Context, part, what, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+tg.Admin[part]+"/debug/pprof/"+what, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s of %s: %s", what, part, resp.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = io.Copy(f, resp.Body)
	return err
}

// StoreBytes is the size of the embedded store's files.
func (tg *Taskgate) StoreBytes() int64 { return size(tg.data) }

// HasCallbacks tells whether this version of Taskgate takes callbacks: the bench measures older ones, too.
func (tg *Taskgate) HasCallbacks(ctx context.Context) bool {
	var contract struct {
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+tg.api+"/openapi.json", nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	_ = json.NewDecoder(resp.Body).Decode(&contract) // without one there are none
	_, ok := contract.Components.Schemas["TaskSubmission"].Properties["callback"]
	return ok
}

// Memory is what a part has allocated since its start, and what it has now.
type Memory struct{ Mallocs, Bytes, Collections, Heap, Stacks float64 }

// Memory reads a part's metrics; zero when it has none.
func (tg *Taskgate) Memory(ctx context.Context, part string) Memory {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+tg.Admin[part]+"/metrics", nil)
	if err != nil {
		return Memory{}
	}
	resp, err := client.Do(req)
	if err != nil {
		return Memory{}
	}
	defer func() { _ = resp.Body.Close() }()
	var m Memory
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		v, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "go_memstats_mallocs_total":
			m.Mallocs = v
		case "go_memstats_alloc_bytes_total":
			m.Bytes = v
		case "go_memstats_heap_inuse_bytes":
			m.Heap = v
		case "go_memstats_stack_inuse_bytes":
			m.Stacks = v
		case "go_gc_duration_seconds_count":
			m.Collections = v
		}
	}
	return m
}
