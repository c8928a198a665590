package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskgate/taskgate/internal/api/apitest"
	"github.com/taskgate/taskgate/internal/app"
	"github.com/taskgate/taskgate/internal/config"
	"github.com/taskgate/taskgate/internal/sqlitedb"
)

// TestRefusalsChangeNothing sends the table of malformed and hostile requests
// to a whole embedded Taskgate, and compares everything that it keeps, row by
// row, with what it kept before: no record, no message, nothing. It is alone
// in the process while it runs: what each request allocates is counted.
func TestRefusalsChangeNothing(t *testing.T) {
	cfg := load(t, "TASKGATE_MAX_PAYLOAD=4KiB", "TASKGATE_KEEP_PAYLOAD=4KiB")
	const admin = "tg_0123456789abcdef"
	env := apitest.Env{Key: admin}
	serving(t, cfg, func(addr string) {
		c := caller{t, addr, admin}
		c.do("PUT", "/v1/endpoints/emails", `{"url":"https://app.example.com/","timeout":"30s","paused":true}`)
		c.do("PUT", "/v1/projects/other", `{}`)
		env.ReaderKey = c.do("POST", "/v1/keys", `{"name":"reader","scopes":["tasks:read"]}`)["key"].(string)
		env.ForeignKey = c.do("POST", "/v1/keys", `{"name":"foreign","scopes":["tasks:*","endpoints:*"],"project":"other"}`)["key"].(string)
		env.Task = c.do("POST", "/v1/tasks", `{"endpoint":"emails","delay":"1h"}`)["id"].(string)
		c.do("POST", "/v1/tasks/"+env.Task+"/cancel", "")
		foreign := caller{t, addr, env.ForeignKey}
		foreign.do("PUT", "/v1/endpoints/theirs", `{"url":"https://app.example.com/","paused":true}`)
		env.ForeignTask = foreign.do("POST", "/v1/tasks", `{"endpoint":"theirs","delay":"300d"}`)["id"].(string)
		env.ForeignJob = foreign.do("POST", "/v1/tasks/cancel", `{"filter":{"endpoint":"nobody"}}`)["id"].(string)
		foreign.do("GET", "/v1/jobs/"+env.ForeignJob+"?wait=10s", "")
	})
	before := kept(t, cfg.DataDir)
	if len(before) < 10 {
		t.Fatalf("only %d rows are kept: nothing is tested", len(before))
	}
	serving(t, cfg, func(addr string) {
		apitest.Run(t, addr, env, func() string { return "" })
	})
	if diff := cmp.Diff(before, kept(t, cfg.DataDir)); diff != "" {
		t.Errorf("the requests changed something: %s", diff)
	}
}

// serving runs an app for as long as f takes.
func serving(t *testing.T, cfg config.Config, f func(addr string)) {
	t.Helper()
	a, err := app.New(cfg, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := a.Stop(ctx); err != nil {
			t.Error(err)
		}
	}()
	f(a.Addr())
}

type caller struct {
	t    *testing.T
	addr string
	key  string
}

// do makes a request that must be taken.
func (c caller) do(method, path, body string) map[string]any {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.addr+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.key)
	r.Header.Set("Content-Type", "application/json")
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil || resp.StatusCode >= http.StatusMultipleChoices {
		c.t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, text)
	}
	return out
}

// kept reads every row of every table, but for when keys were last used and
// for canaries, which the process sends itself.
func kept(t *testing.T, dir string) (rows []string) {
	t.Helper()
	db, err := sqlitedb.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	texts := func(query string, args ...any) (out []string) {
		err := db.Rows(t.Context(), query, args, func(scan func(...any) error) error {
			var b []byte
			err := scan(&b)
			out = append(out, string(bytes.Clone(b)))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, table := range texts("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'") {
		if table == "key_uses" || table == "meta" {
			continue
		}
		columns := texts("SELECT 'quote(' || name || ')' FROM pragma_table_info(?)", table)
		query := fmt.Sprintf("SELECT %s FROM %s", strings.Join(columns, " || ', ' || "), table)
		for _, row := range texts(query) {
			if !strings.Contains(row, "'!canary'") {
				rows = append(rows, table+": "+row)
			}
		}
	}
	slices.Sort(rows)
	return rows
}
