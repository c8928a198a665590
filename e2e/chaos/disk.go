package chaos

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite" // to make a database that is not ours

	"github.com/taskgate/taskgate/e2e/rig"
)

var diskFull = Scenario{
	Name: "disk-full", Number: 4, Targets: []Target{Embedded},
	What: "the embedded store's disk (a small tmpfs) fills up under load, the process is killed and started on it, and space comes back",
	Run:  runDiskFull,
}

// A full disk refuses new tasks and loses none.
func runDiskFull(t *testing.T, w *World) {
	disk := smallDisk(t, 48<<20)
	in := w.Install(t, rig.Options{Data: filepath.Join(disk, "data")})
	l := w.Ledger(t, in)
	w.Register(t, l, Endpoint{Name: "quick", Work: Takes(2 * time.Millisecond)})
	load := l.Run(t.Context(), Load{Workers: 6, Endpoints: []string{"quick"}, Callbacks: 5, Pause: 10 * time.Millisecond})
	var facts []string
	for round := range Pick(w, 1, 3) {
		w.Wait(t, w.Between(200*time.Millisecond, time.Second))
		refused := l.Aways()
		ballast := fill(t, disk)
		// Seen from outside: nothing is accepted any more, and it is said so.
		w.Until(t, time.Minute, "submissions are refused", func() bool { return l.Aways() > refused })
		w.Wait(t, Pick(w, time.Second, 5*time.Second))
		if round%2 == 0 {
			facts = append(facts, startOnFull(t, w, in))
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if !in.Gateways[0].Running() {
			restart(t, in.Gateways[0])
		}
		before := len(l.Accepted())
		w.Until(t, time.Minute, "tasks are accepted again", func() bool { return len(l.Accepted()) > before+10 })
	}
	load.Stop()
	refusals := l.Unavailable()
	w.Conclude(t, l, 2*time.Minute, Mercy{}, append(facts, fmt.Sprintf("while it was full: %s", refusals[len(refusals)-1]))...)
	NoRefusals(t, l)
}

// startOnFull kills the process and starts it on the full disk: it runs, or
// it ends at once and says why.
func startOnFull(t *testing.T, w *World, in *rig.Installation) string {
	t.Helper()
	p := in.Gateways[0]
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), rig.StartLimit)
	defer cancel()
	err := p.Start(ctx)
	if err == nil {
		return "killed meanwhile, it starts on the full disk"
	}
	code, exitErr := p.Exited(ctx)
	if exitErr != nil {
		t.Fatal(exitErr)
	}
	last := p.Tail(1)
	if code != 1 || !strings.Contains(last, "full") && !strings.Contains(last, "no space") {
		t.Errorf("started on a full disk it ended with code %d and %q", code, last)
	}
	return "killed meanwhile, it does not start on the full disk and says why: " + strings.ReplaceAll(strings.TrimPrefix(last, "taskgate: "), in.Data, "…")
}

// smallDisk mounts one, which only root may.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("a small disk cannot be mounted here (it takes root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes a file until the disk is full.
func fill(t *testing.T, disk string) string {
	t.Helper()
	f, err := os.CreateTemp(disk, "ballast-")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		_, err := f.Write(block)
		switch {
		case errors.Is(err, syscall.ENOSPC):
			block = block[:len(block)/2] // down to the last byte
		case err != nil:
			t.Fatal(err)
		}
	}
	return f.Name()
}

var damage = Scenario{
	Name: "damage", Number: 4, Targets: []Target{Embedded},
	What: "the embedded store's file is foreign, cut, overwritten, or its log is torn, after a kill -9 under load",
	Run:  runDamage,
}

// wound is one way to find the data folder in which the process does not
// start, and says so.
type wound struct {
	name string
	do   func(t *testing.T, dir string)
	says string
}

const (
	dbFile   = "taskgate.db"
	logFile  = dbFile + "-wal"
	pageSize = 4096
)

// rubbish is what a disk may give back instead of what was written.
func rubbish(n int) []byte { return bytes.Repeat([]byte{0xa5}, n) }

// wounds of a folder whose process was killed: its log holds what is new.
func woundsOfKilled() []wound {
	return []wound{{name: "a text file beside our log", says: "not a Taskgate database", do: func(t *testing.T, dir string) {
		t.Helper()
		rewrite(t, filepath.Join(dir, dbFile), func([]byte) []byte { return bytes.Repeat([]byte("somebody else's "), 1000) })
	}}}
}

// woundsOfClosed are those of a folder that was closed: it has no log.
func woundsOfClosed() []wound {
	return []wound{
		{name: "a text file", says: "not a Taskgate database", do: func(t *testing.T, dir string) {
			t.Helper()
			rewrite(t, filepath.Join(dir, dbFile), func([]byte) []byte { return []byte("somebody else's") })
		}},
		{name: "another program's database", says: "not a Taskgate database", do: foreignDatabase},
		{name: "a file cut in the middle of a page", says: "damaged", do: func(t *testing.T, dir string) {
			t.Helper()
			rewrite(t, filepath.Join(dir, dbFile), func(b []byte) []byte { return b[:len(b)/2/pageSize*pageSize+100] })
		}},
		{name: "a file cut between pages", says: "damaged", do: func(t *testing.T, dir string) {
			t.Helper()
			rewrite(t, filepath.Join(dir, dbFile), func(b []byte) []byte { return b[:len(b)/2/pageSize*pageSize] })
		}},
		{name: "pages of rubbish", says: "damaged", do: func(t *testing.T, dir string) {
			t.Helper()
			rewrite(t, filepath.Join(dir, dbFile), func(b []byte) []byte {
				copy(b[pageSize:], rubbish(4*pageSize))
				return b
			})
		}},
	}
}

// A file that cannot be trusted is refused in words, and left as it was. A
// torn end of the log, as a power failure leaves it, is no damage.
func runDamage(t *testing.T, w *World) {
	in := w.Install(t, rig.Options{})
	p := in.Gateways[0]
	l := w.Ledger(t, in)
	w.Register(t, l, Endpoint{Name: "quick", Work: Takes(2 * time.Millisecond)})
	load := l.Run(t.Context(), Load{Workers: 6, Endpoints: []string{"quick"}, Callbacks: 5, Pause: 5 * time.Millisecond})
	w.Until(t, time.Minute, "there is something in the store", func() bool { return len(l.Accepted()) > Pick(w, 100, 2000) })
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	refused := refuses(t, p, in.Data, woundsOfKilled())
	rewrite(t, filepath.Join(in.Data, logFile), func(b []byte) []byte { return append(b, rubbish(2000)...) })
	restart(t, p)
	load.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if v := l.Settle(ctx, Mercy{}); len(v.Faults()) > 0 {
		t.Errorf("after a torn log: %q", v.Faults())
	}
	if _, err := p.Stop(rig.StopLimit); err != nil {
		t.Error(err)
	}
	refused += refuses(t, p, in.Data, woundsOfClosed())
	restart(t, p)
	w.Conclude(t, l, time.Minute, Mercy{}, fmt.Sprintf("%d damaged files refused in words and left untouched; a torn end of the log is taken", refused))
	NoRefusals(t, l)
}

// refuses inflicts each wound, and heals it again.
func refuses(t *testing.T, p *rig.Process, dir string, wounds []wound) (refused int) {
	t.Helper()
	whole := readAll(t, dir)
	for _, wd := range wounds {
		t.Run(wd.name, func(t *testing.T) {
			wd.do(t, dir)
			refusesToStart(t, p, dir, wd)
			refused++
		})
		restore(t, dir, whole)
	}
	return refused
}

func refusesToStart(t *testing.T, p *rig.Process, dir string, wd wound) {
	t.Helper()
	before := readAll(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), rig.StartLimit)
	defer cancel()
	if err := p.Start(ctx); err == nil {
		_ = p.Kill()
		t.Fatal("it started")
	}
	code, err := p.Exited(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if last := p.Tail(1); code != 1 || !strings.Contains(last, wd.says) || !strings.Contains(last, dir) {
		t.Errorf("exit code %d, %q", code, last)
	}
	if after := readAll(t, dir)[dbFile]; !bytes.Equal(after, before[dbFile]) {
		t.Error("the file was written to")
	}
}

func foreignDatabase(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{dbFile, logFile, dbFile + "-shm"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, dbFile))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE tasks (id TEXT)"); err != nil {
		t.Fatal(err)
	}
}

// readAll returns the database's files; restore puts them back.
func readAll(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, name := range []string{dbFile, logFile} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err == nil {
			out[name] = b
		}
	}
	return out
}

func restore(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for _, name := range []string{dbFile, logFile, dbFile + "-shm"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func rewrite(t *testing.T, file string, change func([]byte) []byte) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	f.Close()
	if err == nil {
		err = os.WriteFile(file, change(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
