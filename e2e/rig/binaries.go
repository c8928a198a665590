package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const buildLimit = 15 * time.Minute

// Build makes the programs as they are shipped (see deployments/Dockerfile),
// with more build tags if wanted, and returns their folder, for the caller to
// remove.
func Build(ctx context.Context, tags ...string) (dir string, err error) {
	ctx, cancel := context.WithTimeout(ctx, buildLimit)
	defer cancel()
	root, err := Root()
	if err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp("", "taskgate-bin-"); err != nil {
		return "", err
	}
	tags = append([]string{"timetzdata"}, tags...)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", strings.Join(tags, ","), "-o", dir+"/", "./cmd/...")
	build.Dir = root
	build.Env = append(slices.DeleteFunc(os.Environ(), //nolint:forbidigo // the compiler's own: its caches and proxies
		func(v string) bool { return strings.HasPrefix(v, "CGO_ENABLED=") }), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		_ = os.RemoveAll(dir)
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return dir, nil
}

// Root is the module's folder, found from the one that the test runs in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod above the working folder")
		}
		dir = up
	}
}
