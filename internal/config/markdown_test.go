package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
)

const documentation = "../../docs/configuration.md"

var update = flag.Bool("update", false, "rewrite the documentation")

func TestDocumentation(t *testing.T) {
	t.Parallel()

	var want bytes.Buffer
	if err := WriteMarkdown(&want); err != nil {
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
		t.Error("docs/configuration.md is stale: run make generate")
	}
	for _, s := range table {
		if !strings.Contains(want.String(), "| `"+s.Name+"` |") {
			t.Errorf("%s is not documented", s.Name)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestDocumentationCannotBeWritten(t *testing.T) {
	t.Parallel()

	if err := WriteMarkdown(fullDisk{}); err == nil {
		t.Error("no error")
	}
}
