package deployments_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/taskgate/taskgate/internal/config"
)

const closing = 10 * time.Second // of connections, after the drain

// settings runs deployments/setup as a new user does and returns what it wrote.
func settings(t *testing.T) map[string]string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "env")
	setup := func() {
		cmd := exec.Command("./setup")
		cmd.Env = append(os.Environ(), "TASKGATE_ENV_FILE="+file)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("setup: %v: %s", err, out)
		}
	}
	setup()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the secrets: %v", info.Mode())
	}
	setup()
	if again, _ := os.ReadFile(file); !bytes.Equal(again, text) {
		t.Error("setup has changed a file that was there")
	}
	env, err := dotenv.UnmarshalBytesWithLookup(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func load(env map[string]string) (*types.Project, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	return loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir:  dir,
		ConfigFiles: []types.ConfigFile{{Filename: "docker-compose.yml"}},
		Environment: env,
	})
}

func project(t *testing.T) *types.Project {
	t.Helper()
	p, err := load(settings(t))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var ours = []string{"dispatcher-1", "dispatcher-2", "gateway-1", "gateway-2"}

// Nothing starts on secrets that everybody knows: each one that is missing is
// named, with what to do.
func TestComposeNeedsItsSecrets(t *testing.T) {
	t.Parallel()
	env := settings(t)
	for _, secret := range []string{"TASKGATE_ADMIN_KEY", "TASKGATE_SECRET_KEY", "RABBITMQ_PASSWORD", "REDIS_PASSWORD"} {
		if len(env[secret]) < 32 {
			t.Errorf("%s has %d characters", secret, len(env[secret]))
		}
		for _, value := range []*string{nil, new("")} {
			without := maps.Clone(env)
			delete(without, secret)
			if value != nil {
				without[secret] = *value
			}
			_, err := load(without)
			if err == nil || !strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "run deployments/setup") {
				t.Errorf("without %s: %v", secret, err)
			}
		}
	}
	other := settings(t)
	for name, value := range env {
		if strings.HasSuffix(name, "KEY") || strings.HasSuffix(name, "PASSWORD") {
			if other[name] == value {
				t.Errorf("%s is the same in two installations", name)
			}
		}
	}
}

// The names of .env are those that the file asks for, and all of them.
func TestComposeSettings(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	for _, m := range regexp.MustCompile(`[^$]\$\{([A-Z_]+)`).FindAllStringSubmatch(string(text), -1) {
		asked[m[1]] = true
	}
	given := settings(t)
	if got, want := slices.Sorted(maps.Keys(given)), slices.Sorted(maps.Keys(asked)); !slices.Equal(got, want) {
		t.Errorf(".env.example has %q, docker-compose.yml asks for %q", got, want)
	}
	// What has a default has the same one in both places.
	for _, m := range regexp.MustCompile(`\$\{([A-Z_]+):-([^}]*)\}`).FindAllStringSubmatch(string(text), -1) {
		if given[m[1]] != m[2] {
			t.Errorf("%s: %q in .env.example, %q in docker-compose.yml", m[1], given[m[1]], m[2])
		}
	}
}

var pinned = regexp.MustCompile(`^[a-z]+:\d+\.\d+\.\d+(-alpine)?$`)

func TestComposeServices(t *testing.T) {
	t.Parallel()
	p := project(t)
	if got, want := p.ServiceNames(), append(slices.Clone(ours), "proxy", "rabbitmq", "redis"); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("services %q", got)
	}
	for name, s := range p.Services {
		switch {
		case slices.Contains(ours, name):
			if s.Image != "taskgate:dev" || s.Build == nil || s.Build.Dockerfile != "deployments/Dockerfile" {
				t.Errorf("%s: image %q, build %+v", name, s.Image, s.Build)
			}
		case !pinned.MatchString(s.Image):
			t.Errorf("%s: image %q is not pinned", name, s.Image)
		case s.User == "" || s.User == "root" || s.User == "0":
			t.Errorf("%s: user %q", name, s.User)
		}
		if s.Restart != "unless-stopped" || s.HealthCheck == nil || s.HealthCheck.Disable || s.MemLimit == 0 || s.Logging == nil {
			t.Errorf("%s: restart %q, health check %v, memory %d, logging %v", name, s.Restart, s.HealthCheck, s.MemLimit, s.Logging)
		}
		if !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.Privileged {
			t.Errorf("%s may more than it needs: %v %v", name, s.CapDrop, s.SecurityOpt)
		}
		// RabbitMQ writes beside its data; whether it can do without is not verified.
		if s.ReadOnly != (name != "rabbitmq") {
			t.Errorf("%s: read-only root %t", name, s.ReadOnly)
		}
		for other, dep := range s.DependsOn {
			if dep.Condition != types.ServiceConditionHealthy {
				t.Errorf("%s waits for %s to be %s", name, other, dep.Condition)
			}
		}
	}
	wantDeps := map[string][]string{"proxy": {"gateway-1", "gateway-2"}, "rabbitmq": nil, "redis": nil}
	for _, name := range ours {
		wantDeps[name] = []string{"rabbitmq", "redis"}
	}
	for name, want := range wantDeps {
		if got := slices.Sorted(maps.Keys(p.Services[name].DependsOn)); !slices.Equal(got, want) {
			t.Errorf("%s waits for %q, want %q", name, got, want)
		}
	}
}

// One port is published, on loopback; RabbitMQ and Redis are reached by
// nobody else.
func TestComposeNetworks(t *testing.T) {
	t.Parallel()
	p := project(t)
	for name, s := range p.Services {
		if name != "proxy" && len(s.Ports) > 0 {
			t.Errorf("%s publishes %v", name, s.Ports)
		}
		if name == "rabbitmq" || name == "redis" {
			if got := slices.Collect(maps.Keys(s.Networks)); !slices.Equal(got, []string{"back"}) || !p.Networks["back"].Internal {
				t.Errorf("%s is on %q", name, got)
			}
		}
	}
	ports := p.Services["proxy"].Ports
	if len(ports) != 1 || ports[0].HostIP != "127.0.0.1" || ports[0].Published != "8080" || ports[0].Target != 8080 {
		t.Errorf("the proxy publishes %v", ports)
	}
	for name, network := range p.Networks {
		if internal := name == "front" || name == "back"; network.Internal != internal {
			t.Errorf("network %s: internal %t", name, network.Internal)
		}
	}
}

// Data is in named volumes; files of this folder are there, and read only.
func TestComposeVolumes(t *testing.T) {
	t.Parallel()
	p := project(t)
	data := map[string]string{}
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeVolume {
				data[name] = v.Source + ":" + v.Target
				if _, ok := p.Volumes[v.Source]; !ok {
					t.Errorf("%s: no volume %q", name, v.Source)
				}
				continue
			}
			if info, err := os.Stat(v.Source); err != nil || !info.Mode().IsRegular() || !v.ReadOnly {
				t.Errorf("%s: %s: %v, read only %t", name, v.Source, err, v.ReadOnly)
			}
		}
	}
	if want := map[string]string{"rabbitmq": "rabbitmq-data:/var/lib/rabbitmq", "redis": "redis-data:/data"}; !maps.Equal(data, want) {
		t.Errorf("data in %v", data)
	}
	// The node's name is part of the path of its data.
	if p.Services["rabbitmq"].Hostname == "" {
		t.Error("RabbitMQ has another name in every container")
	}
}

// Each of our services gets settings that its program knows, looks at and
// accepts.
func TestComposeConfiguration(t *testing.T) {
	t.Parallel()
	p := project(t)
	for _, name := range ours {
		s := p.Services[name]
		role := config.Role(s.Command[0])
		if !strings.HasPrefix(name, s.Command[0]) || len(s.Command) != 1 {
			t.Errorf("%s runs %q", name, s.Command)
		}
		var environ []string
		for key, value := range s.Environment {
			at := slices.IndexFunc(config.Settings(), func(c config.Setting) bool { return c.Name == key })
			if at < 0 || !slices.Contains(config.Settings()[at].Roles, role) {
				t.Errorf("%s: no setting of the %s: %s", name, role, key)
			}
			if value != nil {
				environ = append(environ, key+"="+*value)
			}
		}
		cfg, err := config.Load(role, config.Source{Environ: environ})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) < cfg.ShutdownGrace+closing {
			t.Errorf("%s is killed after %v, its drain takes up to %v and %v", name, s.StopGracePeriod, cfg.ShutdownGrace, closing)
		}
		checkServers(t, p, name, cfg)
		checkHealth(t, s, cfg)
	}
	for _, pair := range [][2]string{{"gateway-1", "gateway-2"}, {"dispatcher-1", "dispatcher-2"}} {
		a, b := p.Services[pair[0]], p.Services[pair[1]]
		if text, same := a.Environment.ToMapping(), b.Environment.ToMapping(); !maps.Equal(text, same) {
			t.Errorf("%v differ: %v and %v", pair, text, same)
		}
	}
}

// The proxy names the gateways of this file, on the port they listen on, and
// is more patient than the longest long-poll.
func TestProxyConfiguration(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	p := project(t)
	var servers []string
	for _, m := range regexp.MustCompile(`(?m)^\tserver (\S+) "\$\{\w+-(\S+):(\d+)\}"$`).FindAllStringSubmatch(string(text), -1) {
		if _, port, _ := net.SplitHostPort(*p.Services[m[2]].Environment["TASKGATE_LISTEN"]); m[1] != m[2] || m[3] != port {
			t.Errorf("server %s is %s:%s, which listens on %s", m[1], m[2], m[3], port)
		}
		servers = append(servers, m[2])
	}
	if want := []string{"gateway-1", "gateway-2"}; !slices.Equal(servers, want) {
		t.Errorf("it stands before %q", servers)
	}
	if want := fmt.Sprintf(":%d}", p.Services["proxy"].Ports[0].Target); !strings.Contains(string(text), `bind "${BIND-0.0.0.0`+want+`"`) {
		t.Errorf("it does not listen on %s", want)
	}
	for _, side := range []string{"client", "server"} {
		m := regexp.MustCompile(`(?m)^\ttimeout ` + side + ` (\S+)$`).FindStringSubmatch(string(text))
		if m == nil {
			t.Fatalf("no timeout of the %s", side)
		}
		if limit, err := time.ParseDuration(m[1]); err != nil || limit < config.Default(config.Gateway).MaxWait+10*time.Second {
			t.Errorf("timeout %s %s ends long-polls (%v)", side, m[1], err)
		}
	}
}

// checkServers: the URLs name the services, with the users and passwords that
// those are started with.
func checkServers(t *testing.T, p *types.Project, name string, cfg config.Config) {
	t.Helper()
	rabbit, redis := p.Services["rabbitmq"], p.Services["redis"]
	for _, c := range []struct{ raw, host, user, password string }{
		{cfg.AMQPURLs[0], "rabbitmq:5672", *rabbit.Environment["RABBITMQ_DEFAULT_USER"], *rabbit.Environment["RABBITMQ_DEFAULT_PASS"]},
		{cfg.RedisURL, "redis:6379", "", *redis.Environment["REDISCLI_AUTH"]},
	} {
		u, err := url.Parse(c.raw)
		if err != nil {
			t.Fatal(err)
		}
		if password, _ := u.User.Password(); u.Host != c.host || u.User.Username() != c.user || password != c.password {
			t.Errorf("%s: another server, user or password for %s", name, c.host)
		}
		if _, err := net.LookupPort("tcp", u.Port()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// checkHealth: the health check asks an address that the program listens on.
func checkHealth(t *testing.T, s types.ServiceConfig, cfg config.Config) {
	t.Helper()
	test := s.HealthCheck.Test
	if len(test) != 4 || !slices.Equal(test[:3], []string{"CMD", "taskgate", "health"}) {
		t.Fatalf("%s: health check %q", s.Name, test)
	}
	u, err := url.Parse(test[3])
	if err != nil {
		t.Fatal(err)
	}
	listen := cfg.Listen
	if cfg.Role == config.Dispatcher {
		listen = cfg.AdminListen
	}
	if _, port, _ := net.SplitHostPort(listen); u.Port() != port || u.Hostname() != "127.0.0.1" {
		t.Errorf("%s listens on %s and is asked at %s", s.Name, listen, u)
	}
	// The program's own limit must come first: then it says what is wrong.
	if time.Duration(*s.HealthCheck.Timeout) <= 5*time.Second {
		t.Errorf("%s: the check is killed after %v", s.Name, s.HealthCheck.Timeout)
	}
}
