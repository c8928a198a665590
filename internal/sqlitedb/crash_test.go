package sqlitedb_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/internal/sqlitedb"
)

const childDir = "SQLITEDB_TEST_DIR"

// child writes from many goroutines and prints each key once it is told that
// the key is stored, until it is killed.
func child(dir string) int {
	db, err := sqlitedb.Open(context.Background(), dir)
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	lines := make(chan string)
	for g := range 32 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("k%d-%d", g, i)
				d := sqlitedb.Durability(i % 2) // a process's end loses no lazy write either
				if err := db.Write(context.Background(), d, func(tx *sqlitedb.Tx) error { return put(tx, key) }); err != nil {
					key = "error " + err.Error()
				}
				lines <- key
			}
		}()
	}
	for l := range lines {
		fmt.Println(l)
	}
	return 0
}

func TestKillLosesNothing(t *testing.T) {
	dir := t.TempDir()
	acked := 0
	var keys []string
	for round := range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		told := readKeys(t, out, 2000)
		if _, err := sqlitedb.Open(context.Background(), dir); err == nil {
			t.Error("a second process got in")
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		keys, acked = told, acked+len(told)

		db := open(t, dir)
		for _, k := range keys {
			if !has(t, db, k) {
				t.Fatalf("round %d: %s was acknowledged and is gone", round, k)
			}
		}
		if db.MayHaveLost() {
			t.Error("only the process ended: nothing is lost")
		}
		// The next round's child uses the same keys.
		if err := db.Write(bg, sqlitedb.Durable, func(tx *sqlitedb.Tx) error {
			_, err := tx.Exec("DELETE FROM meta WHERE key LIKE 'k%'")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d acknowledged writes in 3 kills, all there", acked)
}

func readKeys(t *testing.T, r io.Reader, n int) []string {
	t.Helper()
	var keys []string
	s := bufio.NewScanner(r)
	for len(keys) < n && s.Scan() {
		if strings.HasPrefix(s.Text(), "error") {
			t.Fatal(s.Text())
		}
		keys = append(keys, s.Text())
	}
	if len(keys) < n {
		t.Fatalf("the child ended after %d keys", len(keys))
	}
	return keys
}
