package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/internal/app"
	"github.com/taskgate/taskgate/internal/cli"
)

//go:generate go test -count=1 -run=^TestDocumentation$ . -update

const documentation = "../../docs/cli.md"

var update = flag.Bool("update", false, "rewrite the documentation")

func TestDocumentation(t *testing.T) {
	t.Parallel()
	var want bytes.Buffer
	if err := cli.WriteMarkdown(&want, parts(app.Process{})...); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(documentation, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(documentation)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/cli.md is stale: run make generate")
	}
}

// Commands of this machine parse their own flags; everything else is the
// client's.
func TestCommands(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		"nothing":          {nil, 2, "", "Usage: taskgate <command>"},
		"help":             {[]string{"--help"}, 0, "serve", ""},
		"version":          {[]string{"version"}, 0, app.Version() + "\n", ""},
		"own flags":        {[]string{"dev", "--help"}, 0, "", "-echo"},
		"wrong settings":   {[]string{"serve"}, 2, "", "TASKGATE_ADMIN_KEY"},
		"behind our flags": {[]string{"--json", "serve", "--colour"}, 2, "", "colour"},
		"unknown":          {[]string{"sevre"}, 2, "", "sevre"},
		"client":           {[]string{"get", "x", "--retry-for", "0s", "--server", "http://127.0.0.1:1"}, 3, "", "cannot be reached"},
	} {
		var stdout, stderr bytes.Buffer
		p := app.Process{Args: c.args, Stdout: &stdout, Stderr: &stderr}
		if code := run(p, nil, false); code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%s: code %d, stdout %q, stderr %q", name, code, &stdout, &stderr)
		}
	}
}
