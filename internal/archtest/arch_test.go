package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestImports(t *testing.T) {
	t.Parallel()

	packages := read(t, "../..")
	if len(packages) < 3 {
		t.Fatalf("found only %d packages", len(packages))
	}
	for _, fault := range check(packages) {
		t.Error(fault)
	}
}

// read parses the imports of every package of the module. It asks no go command, so that the test
// cache sees which files were read, and files of every build tag count.
func read(t *testing.T, root string) []pkg {
	t.Helper()
	packages := map[string]*pkg{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return enter(root, path)
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		p, ok := packages[rel]
		if !ok {
			p = &pkg{path: filepath.ToSlash(rel)}
			packages[rel] = p
		}

		return p.add(path)
	})
	if err != nil {
		t.Fatal(err)
	}
	var list []pkg
	for _, rel := range slices.Sorted(maps.Keys(packages)) {
		list = append(list, *packages[rel])
	}

	return list
}

// enter skips what the go command skips: hidden folders, test data, other modules.
func enter(root, dir string) error {
	if dir == root {
		return nil
	}
	name := filepath.Base(dir)
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "node_modules" {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
		return filepath.SkipDir
	}

	return nil
}

func (p *pkg) add(file string) error {
	syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		return err
	}
	for _, spec := range syntax.Imports {
		to, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		if strings.HasSuffix(file, "_test.go") {
			p.testImports = append(p.testImports, to)
		} else {
			p.imports = append(p.imports, to)
		}
	}

	return nil
}

// The rules must be able to fail: each on a graph made for it.
func TestEachRuleCanFail(t *testing.T) {
	t.Parallel()

	tests := map[string]struct {
		from, to string
		why      string // part of the fault; "" means allowed
	}{
		"domain to a module":           {"internal/task", "github.com/google/uuid", domainWhy},
		"domain to a leaf":             {"internal/task", "internal/config", "the domain is pure"},
		"domain to the library":        {"internal/task", "encoding/json", ""},
		"leaf to the domain":           {"internal/auth", "internal/task", ""},
		"leaf to a leaf":               {"internal/signing", "internal/seal", leafWhy},
		"config to the domain":         {"internal/config", "internal/task", "plain data"},
		"portable to its driver":       {"internal/broker", "internal/broker/rabbit", "must not know a driver"},
		"driver to its contract":       {"internal/broker/rabbit", "internal/broker", ""},
		"driver to its database":       {"internal/results/sqlite", "internal/sqlitedb", ""},
		"driver to another's database": {"internal/results/sqlite", "internal/redisdb", "a driver knows"},
		"driver to another contract":   {"internal/results/redis", "internal/broker", "a driver knows"},
		"driver to another driver":     {"internal/broker/sqlite", "internal/results/sqlite", "a driver knows"},
		"registry seals":               {"internal/registry", "internal/seal", ""},
		"middle to middle":             {"internal/lifecycle", "internal/broker", "interfaces"},
		"API to the queue":             {"internal/api", "internal/broker", "every queue"},
		"API to the steps":             {"internal/api", "internal/lifecycle", ""},
		"API to delivery":              {"internal/api", "internal/dispatch", "without delivery"},
		"delivery to the API":          {"internal/dispatch", "internal/api", "without an API"},
		"delivery to a part of itself": {"internal/dispatch", "internal/dispatch/guard", ""},
		"a part to the whole":          {"internal/dispatch/guard", "internal/dispatch", ""},
		"a part to another room":       {"internal/dispatch/guard", "internal/results", "every queue and store"},
		"up to the root":               {"internal/api", "internal/app", "every queue"},
		"root to everything":           {"internal/app", "internal/results/redis", ""},
		"root to a main":               {"internal/app", "cmd/gateway", "composition root"},
		"main to the root":             {"cmd/gateway", "internal/app", ""},
		"main past the root":           {"cmd/gateway", "internal/broker", "main is flags"},
		"client to the server":         {"client", "internal/api", "without the server's code"},
		"a new room":                   {"internal/other", "fmt", "is in no room"},
		"script to the product":        {"scripts/tool", "internal/task", "tools of the build"},

		"suite in the root":        {"internal/app", "internal/broker/brokertest", suiteWhy},
		"suite in its package":     {"internal/results", "internal/results/resultstest", suiteWhy},
		"suite in another suite":   {"internal/results/resultstest", "internal/registry/registrytest", ""},
		"suite with testing":       {"internal/broker/brokertest", "testing", ""},
		"testing in what ships":    {"internal/broker", "testing/synctest", "does not test"},
		"cmp in what ships":        {"internal/api", "github.com/google/go-cmp/cmp", "panics"},
		"AMQP in its driver":       {"internal/broker/rabbit", "github.com/rabbitmq/amqp091-go", ""},
		"AMQP in the queue":        {"internal/broker", "github.com/rabbitmq/amqp091-go", "one driver"},
		"AMQP in the root":         {"internal/app", "github.com/rabbitmq/amqp091-go", "one driver"},
		"Redis in its driver":      {"internal/registry/redis", "github.com/redis/go-redis/v9", ""},
		"Redis in its leaf":        {"internal/redisdb", "github.com/redis/go-redis/v9", ""},
		"Redis in the API":         {"internal/api", "github.com/redis/go-redis/v9", "another driver"},
		"echo in the API":          {"internal/api/gen", "github.com/labstack/echo/v4", ""},
		"echo in delivery":         {"internal/dispatch", "github.com/labstack/echo/v4/middleware", "mechanical"},
		"SQLite in its leaf":       {"internal/sqlitedb", "modernc.org/sqlite", ""},
		"SQLite in a driver":       {"internal/broker/sqlite", "modernc.org/sqlite", "one writer"},
		"SQL in a driver":          {"internal/broker/sqlite", "database/sql", ""},
		"SQL in the steps":         {"internal/lifecycle", "database/sql", "for the drivers"},
		"a name that begins alike": {"internal/broker", "testingx.example/lib", ""},
		"koanf in the root":        {"internal/app", "github.com/knadh/koanf/v2", "plain data"},
		"signatures of others":     {"internal/signing", "github.com/standard-webhooks/standard-webhooks/libraries/go", "our own code"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, check([]pkg{{path: test.from, imports: []string{full(test.to)}}}), test.why)
		})
	}
}

func TestImportsOfTests(t *testing.T) {
	t.Parallel()

	tests := map[string]struct {
		from, to string
		why      string
	}{
		"suite in a driver's test": {"internal/broker/rabbit", "internal/broker/brokertest", ""},
		"stores in a model test":   {"internal/lifecycle", "internal/results/sqlite", ""},
		"e2e to the root":          {"e2e", "internal/app", ""},
		"e2e to the inside":        {"e2e", "internal/results", "black box"},
		"e2e to a module":          {"e2e/cases", "github.com/standard-webhooks/standard-webhooks/libraries/go", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, check([]pkg{{path: test.from, testImports: []string{full(test.to)}}}), test.why)
		})
	}
}

// A violation on disk must be seen, wherever the file stands.
func TestReadSeesFiles(t *testing.T) {
	t.Parallel()

	root := t.TempDir()
	for name, content := range map[string]string{
		"internal/task/a.go":          "package task\nimport _ \"" + module + "/internal/app\"\n",
		"internal/task/a_test.go":     "package task\nimport _ \"" + module + "/internal/broker/brokertest\"\n",
		"internal/task/tagged.go":     "//go:build other\n\npackage task\nimport _ \"github.com/google/uuid\"\n",
		"bench/go.mod":                "module other\n",
		"bench/a.go":                  "package bench\n",
		".cache/x/a.go":               "package x\n",
		"internal/task/testdata/a.go": "not Go",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	packages := read(t, root)
	if len(packages) != 1 {
		t.Fatalf("packages %v, want one", packages)
	}
	if faults := check(packages); len(faults) != 2 {
		t.Errorf("faults %q, want the room above and the module", faults)
	}
}

func full(path string) string {
	if _, ok := roomOf(path); ok || isSuite(path) {
		return module + "/" + path
	}

	return path
}

func expect(t *testing.T, faults []string, why string) {
	t.Helper()
	switch {
	case why == "" && len(faults) > 0:
		t.Errorf("faults %q, want none", faults)
	case why != "" && (len(faults) != 1 || !strings.Contains(faults[0], why)):
		t.Errorf("faults %q, want one with %q", faults, why)
	}
}

func TestEveryRuleHasAReason(t *testing.T) {
	t.Parallel()

	for _, r := range rooms {
		if r.why == "" {
			t.Errorf("%s has no reason", r.path)
		}
		for _, allowed := range r.may {
			if known, ok := roomOf(allowed); allowed != "internal" && (!ok || known.path != allowed) {
				t.Errorf("%s may import %s, which is no room", r.path, allowed)
			}
		}
	}
	for _, o := range outside {
		if o.why == "" {
			t.Errorf("%s has no reason", o.path)
		}
	}
}
