package chaos

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/taskgate/taskgate/e2e/rig"
)

// The suite that this process runs, its parts made at their first use.
var (
	suite = Suite{Report: &Report{}, Seed: seed(), Whole: whole, Services: sync.OnceValues(startServices)}

	binaries = sync.OnceValues(build)
	services *rig.Services // once started
)

// build makes the programs, unless TASKGATE_CHAOS_BINARIES is a folder of them.
func build() (string, error) {
	if dir := os.Getenv("TASKGATE_CHAOS_BINARIES"); dir != "" {
		return dir, nil
	}
	dir, err := rig.Build(context.Background(), "chaos")
	built = dir
	return dir, err
}

// built is the folder to remove.
var built string

// startServices starts servers of our own. The small form takes those that are
// given: no scenario of it hurts the suite's servers, and each installation has
// a namespace of its own.
func startServices() (*rig.Services, error) {
	given := rig.Services{AMQP: os.Getenv("TASKGATE_TEST_AMQP_URL"), Redis: os.Getenv("TASKGATE_TEST_REDIS_URL")}
	if !whole && given.AMQP != "" && given.Redis != "" {
		return &given, nil
	}
	s, err := rig.StartServices(context.Background())
	services = s
	return s, err
}

// seed is TASKGATE_CHAOS_SEED, or a new one.
func seed() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("TASKGATE_CHAOS_SEED"), 10, 64); err == nil {
		return n
	}
	return uint64(time.Now().UnixNano()) % 1_000_000
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	began := time.Now()
	code := m.Run()
	if services != nil {
		if err := services.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the servers:", err)
			code = 1
		}
	}
	if built != "" {
		_ = os.RemoveAll(built)
	}
	if len(suite.Report.Rows()) == 0 {
		return code
	}
	facts := MachineFacts(suite.Seed, time.Since(began))
	if testing.Verbose() {
		fmt.Println(suite.Report.Markdown(facts))
	}
	// A run that found a fault writes its report, too: it says so.
	if file := os.Getenv("TASKGATE_CHAOS_REPORT"); file != "" {
		if err := suite.Report.Write(file, facts); err != nil {
			fmt.Fprintln(os.Stderr, "write the report:", err)
			code = 1
		}
	}
	return code
}

// needsServices: as for every test of this module.
func needsServices(t *testing.T) {
	t.Helper()
	if !whole && os.Getenv("TASKGATE_REQUIRE_SERVICES") == "" {
		t.Skip("no services: run under scripts/services")
	}
}

func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes and kills them")
	}
	dir, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	suite.Binaries = dir
	t.Logf("seed %d", suite.Seed)
	for _, sc := range scenarios() {
		if sc.WholeOnly && !whole {
			continue
		}
		t.Run(sc.Name, func(t *testing.T) {
			for _, target := range sc.Targets {
				t.Run(string(target), func(t *testing.T) {
					if target == Services {
						needsServices(t)
					}
					sc.Run(t, suite.world(sc, target))
				})
			}
		})
	}
}
