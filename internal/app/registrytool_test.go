package app_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/internal/app"
	"github.com/taskgate/taskgate/internal/config"
)

// tool runs taskgate registry.
func tool(env []string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = app.RegistryMain(app.Process{Args: args, Environ: env, Stdout: &out, Stderr: &errs})
	return code, out.String(), errs.String()
}

func serveEnv(dir string, more ...string) []string {
	return environ(dir, append([]string{
		"TASKGATE_ADMIN_KEY=" + bootstrapKey, "TASKGATE_SECRET_KEY=" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
	}, more...)...)
}

// started runs taskgate serve for as long as f does.
func started(t *testing.T, env []string, f func(api string)) {
	t.Helper()
	cfg, err := config.Load(config.Serve, config.Source{Environ: env})
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(cfg, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f("http://" + a.Addr() + "/v1/")
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := a.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestRegistryBackup(t *testing.T) {
	t.Parallel()
	first, second := serveEnv(filepath.Join(t.TempDir(), "a")), serveEnv(filepath.Join(t.TempDir(), "b"))
	file := filepath.Join(t.TempDir(), "backup.json")
	var key struct{ ID, Key string }
	started(t, first, func(api string) {
		for path, body := range map[string]string{
			"endpoints/a": `{"url":"https://a.example.com/","auth":{"type":"bearer","token":"hush-token"}}`,
			"projects/p":  `{}`,
		} {
			if status, answer := call(t, "PUT", api+path, bootstrapKey, body, nil); status != 201 {
				t.Fatal(answer)
			}
		}
		if status, answer := call(t, "POST", api+"keys", bootstrapKey, `{"name":"x","scopes":["endpoints:*"]}`, &key); status != 201 {
			t.Fatal(answer)
		}
		if code, _, stderr := tool(first, "export"); code != 1 || !strings.Contains(stderr, "stop the server first") {
			t.Errorf("in use: %d, %s", code, stderr)
		}
	})
	code, _, stderr := tool(first, "export", "--output", file)
	if code != 0 {
		t.Fatal(code, stderr)
	}
	info, err := os.Stat(file)
	text, _ := os.ReadFile(file)
	if err != nil || info.Mode().Perm() != 0o600 || bytes.Contains(text, []byte("hush")) || bytes.Contains(text, []byte(key.Key)) {
		t.Errorf("%v, %v: %s", info, err, text)
	}
	if code, stdout, _ := tool(first, "export"); code != 0 || !strings.Contains(stdout, `"format": "taskgate.registry/1"`) {
		t.Errorf("%d: %s", code, stdout)
	}

	for _, step := range []struct {
		args []string
		want []string
	}{
		{[]string{"import", "--dry-run", file}, []string{"key default/" + key.ID + ": created", "dry run", "4 created, 0 replaced, 0 unchanged"}},
		{[]string{"import", "--dry-run", file}, []string{"4 created"}},
		{[]string{"import", file}, []string{"imported: 4 created"}},
		{[]string{"import", file}, []string{"imported: 0 created, 0 replaced, 4 unchanged"}},
	} {
		code, stdout, stderr := tool(second, step.args...)
		for _, text := range step.want {
			if code != 0 || !strings.Contains(stdout, text) {
				t.Errorf("%v: %d, %s%s", step.args, code, stdout, stderr)
			}
		}
	}
	started(t, second, func(api string) {
		if status, answer := call(t, "GET", api+"endpoints/a", key.Key, "", nil); status != 200 {
			t.Error(answer)
		}
		if status, answer := call(t, "DELETE", api+"keys/"+key.ID, bootstrapKey, "", nil); status != 204 {
			t.Error(answer)
		}
	})
	if code, stdout, _ := tool(second, "import", file); code != 0 || !strings.Contains(stdout, "3 unchanged, 1 revoked") {
		t.Errorf("%d: %s", code, stdout)
	}
}

func TestRegistryImportRefuses(t *testing.T) {
	t.Parallel()
	first := serveEnv(filepath.Join(t.TempDir(), "a"))
	file := filepath.Join(t.TempDir(), "backup.json")
	started(t, first, func(string) {})
	if code, _, stderr := tool(first, "export", "--output", file); code != 0 {
		t.Fatal(stderr)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "b")
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "x.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		env  []string
		args []string
		code int
		want string
	}{
		"foreign key": {
			serveEnv(dir, "TASKGATE_SECRET_KEY="+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32))),
			[]string{"import", file},
			2, "project default: is sealed with another TASKGATE_SECRET_KEY",
		},
		"no file":       {serveEnv(dir), []string{"import"}, 2, "takes 1 file"},
		"missing file":  {serveEnv(dir), []string{"import", file + ".nobody"}, 2, "nothing was imported"},
		"no JSON":       {serveEnv(dir), []string{"import", write("poison")}, 2, "is not what taskgate registry export writes"},
		"other format":  {serveEnv(dir), []string{"import", write(`{"format":"taskgate.registry/2"}`)}, 2, "this version reads"},
		"twice":         {serveEnv(dir), []string{"import", write(strings.Replace(string(good), "\n  ]", ","+itemOf(t, string(good))+"\n  ]", 1))}, 2, "is there twice"},
		"no project":    {serveEnv(dir), []string{"import", write(`{"format":"taskgate.registry/1","items":[{"kind":"endpoint","project":"p","name":"a","value":{"project":"p","name":"a"}},{"kind":"clock","project":"p","value":{}}]}`)}, 2, "endpoint p/a: belongs to a project that is neither"},
		"settings":      {environ(dir, "TASKGATE_SECRET_KEY=x"), []string{"import", file}, 2, "TASKGATE_ADMIN_KEY"},
		"unknown role":  {serveEnv(dir), []string{"export", "--as", "dispatcher"}, 2, "want gateway, serve or dev"},
		"unknown flag":  {serveEnv(dir), []string{"export", "--dry-run"}, 2, "dry-run"},
		"no command":    {serveEnv(dir), nil, 2, "Usage"},
		"other command": {serveEnv(dir), []string{"backup"}, 2, `no command "backup"`},
		"export a file": {serveEnv(dir), []string{"export", file}, 2, "takes 0 file"},
	} {
		code, stdout, stderr := tool(c.env, c.args...)
		if code != c.code || !strings.Contains(stderr, c.want) || strings.Contains(stderr, "poison") || stdout != "" {
			t.Errorf("%s: %d: %s%s", name, code, stdout, stderr)
		}
	}
	if code, stdout, stderr := tool(serveEnv(dir), "export"); code != 1 || !strings.Contains(stderr, "nothing in this registry") {
		t.Errorf("something was imported: %s%s", stdout, stderr)
	}
	if code, _, stderr := tool(serveEnv(dir+".nobody"), "export"); code != 1 || !strings.Contains(stderr, "TASKGATE_DATA") {
		t.Errorf("%d: %s", code, stderr)
	}
	if code, stdout, _ := tool(nil, "--help"); code != 0 || !strings.Contains(stdout, "stay sealed") {
		t.Errorf("%d: %s", code, stdout)
	}
}

// itemOf is the only item of a backup.
func itemOf(t *testing.T, text string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, `"items": [`)
	item, _, also := strings.Cut(rest, "\n  ]")
	if !ok || !also {
		t.Fatal(text)
	}
	return item
}
