package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tool runs a command of taskgate on this machine, with the settings of the
// installation.
func (in *installation) tool(t *testing.T, args ...string) string {
	t.Helper()
	dir, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "taskgate"), args...)
	cmd.Env = append(cmd.Env, in.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

// TestBackup: the store is lost while nothing runs; what operators configured
// comes back from a file, with its secrets.
func TestBackup(t *testing.T) {
	t.Parallel()
	none := func(*testing.T) []string { return nil }
	installations(t, none, func(t *testing.T, in *installation) {
		h := serve(t, status(200))
		file := filepath.Join(t.TempDir(), "registry.json")
		acme := "p" + namespace()
		in.want(t, 201, "PUT", "/v1/projects/"+acme, obj{})
		key := in.want(t, 201, "POST", "/v1/keys", obj{"name": "worker", "scopes": []string{"tasks:*"}, "project": acme}).obj.str("key")
		ep := in.want(t, 201, "PUT", "/v1/endpoints/emails", obj{"url": h.URL}, "Taskgate-Project", acme).obj
		sent := 1
		in.as(key).submit(t, "emails", obj{"delay": "2s"})
		if in.name == "services" {
			in.tool(t, "registry", "export", "--output", file) // while it runs
		}
		in.stop()
		if in.name == "embedded" {
			in.tool(t, "registry", "export", "--output", file)
			sent = 0 // tasks are lost with the folder
			if err := os.RemoveAll(in.setting("TASKGATE_DATA")); err != nil {
				t.Fatal(err)
			}
		} else {
			forget(t, in.setting("TASKGATE_NAMESPACE"))
		}
		in.start(t)
		in.as(key).want(t, 401, "GET", "/v1/tasks", nil)
		if in.name == "embedded" {
			in.stop()
		}
		dry := in.tool(t, "registry", "import", "--dry-run", file)
		if !strings.Contains(dry, "3 created, 1 replaced") {
			t.Errorf("%s", dry)
		}
		if out := in.tool(t, "registry", "import", file); !strings.Contains(out, "3 created, 1 replaced") {
			t.Errorf("%s", out)
		}
		if out := in.tool(t, "registry", "import", file); !strings.Contains(out, "4 unchanged") {
			t.Errorf("%s", out)
		}
		if in.name == "embedded" {
			in.start(t)
		}
		worker := in.as(key)
		worker.ends(t, worker.submit(t, "emails", nil).str("id"), "succeeded", "")
		for range sent + 1 {
			verify(t, ep.str("secret"), h.next(t))
		}
		in.everywhere(func(tg *target) bool {
			tg.as(key).want(t, 200, "GET", "/v1/tasks", nil)
			return true
		})
	})
}
