package deployments_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// The command of the compose file starts a Redis that wants the password,
// keeps what it is told and evicts nothing. It is the real one, with another
// folder and a socket in place of a port.
func TestRedisStartsAsTold(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed") // another source of servers, see scripts/services
	}
	s := project(t).Services["redis"]
	dir := t.TempDir()
	text, err := os.ReadFile("redis.conf")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\ndir /data\n") {
		t.Error("its data is not where the volume is")
	}
	conf, socket := filepath.Join(dir, "redis.conf"), filepath.Join(dir, "s")
	own := strings.Replace(string(text), "\ndir /data\n", "\ndir "+dir+"\nport 0\nunixsocket "+socket+"\n", 1)
	if err := os.WriteFile(conf, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	password := *s.Environment["REDISCLI_AUTH"]
	script := strings.ReplaceAll(s.Command[2], "/etc/redis/redis.conf", conf)
	if strings.Contains(strings.Join(s.Command, " "), password) {
		t.Error("the password is in the command line")
	}
	cmd := exec.Command(s.Command[0], s.Command[1], script)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "REDISCLI_AUTH=" + password}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill() // the shell has become the server
		_ = cmd.Wait()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, Password: password})
	defer c.Close()
	for c.Ping(ctx).Err() != nil {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("it does not start: ", c.Ping(t.Context()).Err())
		}
	}
	for name, want := range map[string]string{"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "maxmemory": "1073741824"} {
		if got, err := c.ConfigGet(ctx, name).Result(); err != nil || got[name] != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	open := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	defer open.Close()
	if err := open.Ping(ctx).Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without the password: %v", err)
	}
}
