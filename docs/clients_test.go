package docs_test

import (
	"os/exec"
	"testing"
)

// The page's programs are what the generated clients really take.
func TestClientPrograms(t *testing.T) {
	t.Parallel()
	t.Run("go", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		write(t, dir, "main.go", block(t, "clients.md", "go", "client.NewClientWithResponses"))
		// The file is outside, its imports are those of the module that this runs in.
		if out, err := exec.Command("go", "build", "-o", dir+"/program", dir+"/main.go").CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("ts", func(t *testing.T) {
		t.Parallel()
		typescript(t, "clients.js") // type-checks it
	})
}
