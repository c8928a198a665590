package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shell runs the taskgate program against a target, as a user does.
type shell struct {
	t   *testing.T
	env []string
}

func newShell(t *testing.T, tg *target) shell {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(tg.key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return shell{t, []string{"TASKGATE_URL=" + tg.base(), "TASKGATE_KEY_FILE=" + file}}
}

func (sh shell) command(args ...string) *exec.Cmd {
	sh.t.Helper()
	dir, err := binaries()
	if err != nil {
		sh.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "taskgate"), args...)
	cmd.Env = sh.env
	return cmd
}

// ends runs a command that must end with the code, and returns its output.
func (sh shell) ends(code int, stdin string, args ...string) (stdout, stderr string) {
	sh.t.Helper()
	cmd := sh.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != code {
		sh.t.Fatalf("%q: code %d, want %d (%v)\n%s%s", args, got, code, err, &out, &errs)
	}
	return strings.TrimSpace(out.String()), errs.String()
}

func (sh shell) ok(args ...string) string {
	sh.t.Helper()
	out, _ := sh.ends(0, "", args...)
	return out
}

// json is the one document that a command prints.
func (sh shell) json(args ...string) obj {
	sh.t.Helper()
	var out obj
	if text := sh.ok(append(args, "--json")...); json.Unmarshal([]byte(text), &out) != nil {
		sh.t.Fatalf("%q: not one document: %s", args, text)
	}
	return out
}

// A task's whole life by the program alone.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		sh := newShell(t, tg)
		good, bad := serve(t, echo), serve(t, body(http.StatusBadRequest, "text/plain", "no such order"))
		name, failing := "e"+namespace(), "e"+namespace()
		if secret := sh.json("endpoints", "put", name, good.URL, "--label", "a=b").str("secret"); !strings.HasPrefix(secret, "whsec_") {
			t.Errorf("secret %q", secret)
		}
		sh.ok("endpoints", "put", failing, bad.URL)
		if got := sh.json("endpoints", "get", name).str("url"); got != good.URL {
			t.Errorf("url %q", got)
		}

		// Submit, wait, read.
		text := "{\"n\": 1.50, \"s\": \"<>\"}"
		if got, _ := sh.ends(0, text, "submit", name, "-", "--header", "X-Tenant: acme", "--result"); got != text {
			t.Errorf("the answer is %q", got)
		}
		if got := good.next(t); string(got.body) != text || got.header.Get("X-Tenant") != "acme" {
			t.Errorf("delivered %q, %v", got.body, got.header)
		}
		id := sh.ok("submit", name, "2", "--delay", "1s", "--quiet", "--label", "run=1")
		if got := sh.json("wait", id, "--timeout", "30s"); got.str("state") != "succeeded" || got.str("id") != id {
			t.Errorf("got %v", got)
		}
		if got := sh.ok("get", id, "--attempts"); !strings.Contains(got, "200") {
			t.Errorf("attempts: %s", got)
		}
		if got := sh.ok("list", "--endpoint", name, "--label", "run=1", "--state", "succeeded"); !strings.Contains(got, id) {
			t.Errorf("list: %s", got)
		}

		// What goes wrong has a code of its own.
		out, _ := sh.ends(1, "", "submit", failing, "3", "--wait")
		if !strings.Contains(out, "failed (permanent_status)") {
			t.Errorf("got %s", out)
		}
		_, errs := sh.ends(1, "", "submit", name, "1", "--delay", "soon", "--max-attempts", "0")
		if !strings.Contains(errs, "/delay: ") || !strings.Contains(errs, "/retry/max_attempts: ") {
			t.Errorf("faults: %s", errs)
		}
		sh.ends(1, "", "get", "nope")
		sh.ends(2, "", "submit")
		held := sh.ok("submit", name, "4", "--delay", "1h", "--quiet")
		sh.ends(4, "", "wait", held, "--timeout", "100ms")
		sh.ends(3, "", "get", held, "--server", "http://127.0.0.1:1", "--retry-for", "0s")

		// Change.
		if got := sh.ok("endpoints", "pause", name); got != name+" is paused" {
			t.Errorf("got %q", got)
		}
		if got := sh.json("endpoints", "resume", name); got["paused"] != false {
			t.Errorf("got %v", got)
		}
		sh.ok("cancel", held)
		sh.ends(1, "", "wait", held)
		if got := sh.json("retry", held, "--wait", "--timeout", "30s"); got.str("state") != "succeeded" || got.num("generation") != 2 {
			t.Errorf("got %v", got)
		}
		sh.ok("submit", name, "5", "--delay", "1h")
		sh.ends(1, "", "endpoints", "delete", name)
		sh.ok("endpoints", "delete", name, failing, "--force")
		sh.ends(1, "", "endpoints", "get", name)
		if got := sh.ok("health"); got != "ready" {
			t.Errorf("health: %s", got)
		}
	})
}

// Many tasks at once, an endpoint in operation, and a key that may do less.
func TestCommandLineOperates(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		sh := newShell(t, tg)
		h := serve(t, echo)
		name := "e" + namespace()
		sh.ok("endpoints", "put", name, h.URL)
		for range 3 {
			sh.ok("submit", name, "1", "--delay", "1h")
		}
		if got := sh.json("cancel", "--endpoint", name, "--dry-run"); got.num("matched") != 3 {
			t.Errorf("a preview of %v", got)
		}
		if got := sh.json("cancel", "--endpoint", name, "--wait", "--timeout", "40s"); got.num("changed") != 3 || got.str("state") != "done" {
			t.Errorf("cancelled %v", got)
		}
		if got := sh.json("retry", "--endpoint", name, "--state", "cancelled", "--wait", "--timeout", "40s"); got.num("changed") != 3 {
			t.Errorf("retried %v", got)
		}
		if got := sh.json("endpoints", "test", name, `{"n": 1}`); got.str("answer") != `{"n": 1}` {
			t.Errorf("tested %v", got)
		}
		held := sh.ok("submit", name, "2", "--delay", "1h", "--quiet")
		if got := sh.json("reschedule", held, "--delay", "2h"); got.num("generation") != 2 {
			t.Errorf("rescheduled %v", got)
		}
		if got := sh.json("endpoints", "purge", name, "--state", "scheduled"); got.num("cancelled") != 1 {
			t.Errorf("purged %v", got)
		}
		if got := sh.json("endpoints", "patch", name, `{"timeout": "7s"}`).str("timeout"); got != "7s" {
			t.Errorf("timeout %q", got)
		}

		made := sh.json("keys", "create", name, "--scope", "tasks:read", "--expires-in", "1h")
		less := shell{t, []string{"TASKGATE_URL=" + tg.base(), "TASKGATE_KEY=" + made.str("key")}}
		until(t, "every gateway knows the key", func() bool { return less.command("get", held).Run() == nil })
		if _, errs := less.ends(1, "", "submit", name, "3"); !strings.Contains(errs, "forbidden") || strings.Contains(errs, made.str("key")) {
			t.Errorf("beyond its scope: %s", errs)
		}
		sh.ok("keys", "revoke", made.str("id"))
		sh.ok("endpoints", "delete", name, "--force")
	})
}

// The program follows what others do, until it is interrupted.
func TestCommandLineTail(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		sh := newShell(t, tg)
		h := serve(t, echo)
		name, _ := tg.register(t, h.URL, nil)
		cmd := sh.command("tail", "--json", "--interval", "100ms", "--endpoint", name)
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		watchdog := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		defer watchdog.Stop()
		changes := make(chan obj, 1000)
		go func() {
			defer close(changes)
			for lines := json.NewDecoder(stdout); ; {
				var change obj
				if lines.Decode(&change) != nil {
					return
				}
				changes <- change
			}
		}()
		// Its first line is the sign that it has begun.
		until(t, "the tail has begun", func() bool {
			tg.submit(t, name, obj{"delay": "1h"})
			select {
			case <-changes:
				return true
			default:
				return false
			}
		})
		id := tg.submit(t, name, obj{"delay": "500ms"}).str("id")
		var got []string
		for len(got) == 0 || got[len(got)-1] != "succeeded" {
			change, ok := <-changes
			if !ok {
				t.Fatalf("it ended after %q", got)
			}
			if change.obj("task").str("id") == id {
				if len(got) > 0 && change.str("from") != got[len(got)-1] {
					t.Errorf("from %s after %v", change.str("from"), got)
				}
				got = append(got, change.obj("task").str("state"))
			}
		}
		if sorted := slices.Compact(slices.Clone(got)); len(sorted) != len(got) || got[0] == "succeeded" {
			t.Errorf("states %q", got)
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		for range changes { // to its end
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
}
