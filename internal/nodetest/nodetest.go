// Package nodetest runs the npm tools that scripts/node-tools installs, for
// tests of what is written in TypeScript.
package nodetest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// root of the module. Tests run in the folder of their package.
var root = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", os.ErrNotExist
		}
	}
	return "", err
})

// dir is what scripts/node-tools prints: TASKGATE_NODE_TOOLS, else the folder
// where it would install.
func dir() (string, error) {
	if d := os.Getenv("TASKGATE_NODE_TOOLS"); d != "" { //nolint:forbidigo // tests have no main that would pass it in
		return d, nil
	}
	top, err := root()
	if err != nil {
		return "", err
	}
	lock, err := os.ReadFile(filepath.Join(top, "scripts", "node", "package-lock.json"))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(lock)
	return filepath.Join(top, ".cache", "node", hex.EncodeToString(sum[:8])), nil
}

// Need skips the test when the tools are not installed, and fails it where
// nothing may be left out (TASKGATE_REQUIRE_SERVICES).
func Need(t *testing.T) {
	t.Helper()
	d, err := dir()
	if err == nil {
		_, err = os.Stat(filepath.Join(d, "installed"))
	}
	if err == nil {
		return
	}
	if os.Getenv("TASKGATE_REQUIRE_SERVICES") != "" { //nolint:forbidigo // as above
		t.Fatalf("no Node tools: %v (scripts/node-tools installs them)", err)
	}
	t.Skip("no Node tools: run scripts/node-tools")
}

// Project is a folder of TypeScript, beside the modules that it imports.
type Project struct{ Dir, tools string }

// NewProject makes a project of files (contents by name) and the compiler's
// options. Its folder is the caller's to remove.
func NewProject(files map[string]string) (*Project, error) {
	tools, err := dir()
	if err != nil {
		return nil, err
	}
	// Imports are looked up from here.
	own, err := os.MkdirTemp(tools, "test-")
	if err != nil {
		return nil, err
	}
	p := &Project{own, tools}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(own, name), []byte(text), 0o600); err != nil {
			return p, err
		}
	}
	return p, nil
}

// Generate writes the contract's types, by openapi-typescript.
func (p *Project) Generate(name string) error {
	top, err := root()
	if err != nil {
		return err
	}
	return p.run("openapi-typescript", filepath.Join(top, "openapi.yaml"), "-o", name)
}

func (p *Project) run(tool string, args ...string) error {
	cmd := exec.Command(filepath.Join(p.tools, "node_modules", ".bin", tool), args...) //nolint:gosec,noctx // our own pinned tools, in a test
	cmd.Dir = p.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", tool, strings.Join(args, " "), err, out)
	}
	return nil
}

// Options are the compiler's: as strict as it gets, for Node.
const Options = `{
  "compilerOptions": {
    "target": "es2022", "module": "nodenext", "types": ["node"], "outDir": "out",
    "strict": true, "noUncheckedIndexedAccess": true, "exactOptionalPropertyTypes": true, "noUnusedLocals": true, "noEmitOnError": true
  },
  "include": ["*.ts"]
}`

// Compile type-checks the project; the programs are in its folder out.
func (p *Project) Compile() error {
	for name, text := range map[string]string{"tsconfig.json": Options, "package.json": `{"type":"module"}`} {
		if err := os.WriteFile(filepath.Join(p.Dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return p.run("tsc", "-p", ".")
}
