package e2e_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// What is kept and what programs say by themselves, for [TestNothingLeaks].

// kept is where only secrets are looked for: payloads, results and headers of
// endpoints are kept on purpose.
func (l *leaks) kept(t *testing.T) {
	t.Helper()
	if l.name == "embedded" {
		dir := l.setting("TASKGATE_DATA")
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			l.shown["at rest: "+e.Name()] = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	} else {
		l.shown["at rest: Redis"] = inRedis(t, l.setting("TASKGATE_NAMESPACE"))
	}
	l.shown["backup"] = l.tool(t, "registry", "export")
	rest := 0
	for where, text := range l.shown {
		if strings.HasPrefix(where, "at rest") {
			rest += len(text)
		}
	}
	if rest < 10_000 || !strings.Contains(l.shown["backup"], "taskgate.registry/1") {
		t.Errorf("%d bytes are at rest, the backup is %.100q", rest, l.shown["backup"])
	}
}

// inRedis is every key of a namespace with all that is in it.
func inRedis(t *testing.T, ns string) string {
	t.Helper()
	opt, err := redis.ParseURL(os.Getenv("TASKGATE_TEST_REDIS_URL"))
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opt)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out strings.Builder
	for it := c.Scan(ctx, 0, ns+":*", 1000).Iterator(); it.Next(ctx); {
		key := it.Val()
		var value any
		var err error
		switch c.Type(ctx, key).Val() {
		case "string":
			value, err = c.Get(ctx, key).Result()
		case "hash":
			value, err = c.HGetAll(ctx, key).Result()
		case "zset":
			value, err = c.ZRange(ctx, key, 0, -1).Result()
		case "set":
			value, err = c.SMembers(ctx, key).Result()
		case "list":
			value, err = c.LRange(ctx, key, 0, -1).Result()
		case "stream":
			value, err = c.XRange(ctx, key, "-", "+").Result()
		case "none":
			continue // it has just ended
		}
		if err != nil && err != redis.Nil { //nolint:errorlint // as the library gives it
			t.Fatalf("%s: %v", key, err)
		}
		fmt.Fprintf(&out, "%s %q\n", key, value)
	}
	return out.String()
}

// spoken is what programs print when they are used wrongly, or by somebody whom
// the server does not know.
func (l *leaks) spoken(t *testing.T) {
	t.Helper()
	dir, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	run := func(name, program string, env []string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, filepath.Join(dir, program), args...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("%s: it ended well: %s", name, out)
		}
		l.out["said: "+name] = string(out)
	}
	server := "TASKGATE_URL=" + l.base()
	key := func() string { return "TASKGATE_KEY=tg_" + l.secret("key of the command line") }
	run("command without a known key", "taskgate", []string{server, key()}, "endpoints", "list")
	run("command in debug of nobody", "taskgate", []string{"TASKGATE_URL=http://127.0.0.1:1", key()}, "tasks", "list")
	run("command with a key in the URL", "taskgate", []string{"TASKGATE_URL=http://u:" + l.secret("password in a URL") + "@127.0.0.1:1", key()}, "tasks", "list")
	run("command with a key that is none", "taskgate", []string{server, "TASKGATE_KEY=" + l.secret("key") + "\x01"}, "tasks", "list")

	wrong := base64.StdEncoding.EncodeToString([]byte(l.secret("secret key that is too short")))
	l.note(l.secrets, "secret key that is too short", wrong)
	for setting, value := range map[string]string{
		"TASKGATE_ADMIN_KEY": "\x02" + l.secret("admin key"), "TASKGATE_SECRET_KEY": wrong,
		"TASKGATE_AMQP_URL":     "amqp://u:" + l.secret("password of RabbitMQ") + "@127.0.0.1:port/",
		"TASKGATE_REDIS_URL":    "redis://:" + l.secret("password of Redis") + "@127.0.0.1:port",
		"TASKGATE_OTLP_HEADERS": "Authorization " + l.secret("header for traces"), "TASKGATE_OTLP_ENDPOINT": "http://u:" + l.secret("password of OTLP") + "@h",
		"TASKGATE_UNKNOWN": l.secret("unknown setting"),
	} {
		run("wrong "+setting, "gateway", append(environ("TASKGATE_AMQP_URL=amqp://127.0.0.1:1/", "TASKGATE_REDIS_URL=redis://127.0.0.1:1"), setting+"="+value))
	}
	file := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(file, []byte("admin_key: ["+l.secret("key in a broken file")+"\nredis_url: {"+l.secret("another")), 0o600); err != nil {
		t.Fatal(err)
	}
	run("broken file of settings", "gateway", environ("TASKGATE_CONFIG="+file))
	endpoints := filepath.Join(t.TempDir(), "endpoints.yaml")
	if err := os.WriteFile(endpoints, []byte("endpoints:\n  a:\n    url: https://a.example/\n    secret: "+l.secret("secret in a file")+"\n    auth: {type: bearer, token: \""+l.secret("token in a file")+" \"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run("wrong file of endpoints", "taskgate", environ("TASKGATE_DATA="+t.TempDir(), "TASKGATE_ENDPOINTS_FILE="+endpoints), "serve")
	backup := filepath.Join(t.TempDir(), "backup.json")
	if err := os.WriteFile(backup, []byte(`{"format":"taskgate.registry/1","items":[{"kind":"key","project":"default","name":"x","value":{"digest":"`+l.secret("digest in a backup")+`"}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	run("wrong backup", "taskgate", environ("TASKGATE_DATA="+t.TempDir()), "registry", "import", "--as", "serve", backup)
}

// admin asks the listener for operators for what it does not serve unless it
// is told to.
func (l *leaks) admin(t *testing.T) {
	t.Helper()
	for _, p := range l.processes {
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/vars", "/config"} {
			if code, text := p.get(t, path); code != 404 {
				t.Errorf("%s%s: %d %.100s", p.bin, path, code, text)
			}
		}
	}
}
