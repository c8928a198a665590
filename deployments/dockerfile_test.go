package deployments_test

import (
	"bufio"
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// maxBinary bounds each program, and with it the image: three of them and
// little else.
const maxBinary = 48 << 20

// instruction is one of a Dockerfile's.
type instruction struct {
	name string
	args string
}

// dockerfile reads what our Dockerfile is written in: comments, instructions,
// and lines that go on. Anything else in it is a fault.
func dockerfile(t *testing.T) []instruction {
	t.Helper()
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var out []instruction
	whole := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "#") || line == "" && whole == "" {
			continue
		}
		if rest, more := strings.CutSuffix(line, `\`); more {
			whole += rest
			continue
		}
		name, args, _ := strings.Cut(strings.TrimSpace(whole+line), " ")
		whole = ""
		if !regexp.MustCompile(`^[A-Z]+$`).MatchString(name) || strings.Contains(args, "<<") {
			t.Fatalf("cannot read %q", line)
		}
		out = append(out, instruction{name, strings.TrimSpace(args)})
	}
	return out
}

// stages are the instructions of the build stage and of the image.
func stages(t *testing.T) (build, image []instruction) {
	t.Helper()
	all := dockerfile(t)
	for i, in := range all {
		if i > 0 && in.name == "FROM" {
			return all[:i], all[i:]
		}
	}
	t.Fatal("one stage only")
	return nil, nil
}

func args(ins []instruction, name string) []string {
	var out []string
	for _, in := range ins {
		if in.name == name {
			out = append(out, in.args)
		}
	}
	return out
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	build, image := stages(t)
	from := regexp.MustCompile(`^--platform=\$BUILDPLATFORM golang:(\d+\.\d+\.\d+)-alpine AS build$`).FindStringSubmatch(args(build, "FROM")[0])
	if from == nil {
		t.Fatalf("built from %q, which is not pinned", args(build, "FROM"))
	}
	if mod, err := os.ReadFile("../go.mod"); err != nil || !slices.Contains([]int{-1, 0}, compareVersions(regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(string(mod))[1], from[1])) {
		t.Errorf("go.mod needs a newer Go than %s (%v)", from[1], err)
	}
	if got := args(image, "FROM"); !slices.Equal(got, []string{"scratch"}) {
		t.Errorf("the image is made of %q", got)
	}
	// Kubernetes can tell only of a number that it is not root.
	if got := args(image, "USER"); len(got) != 1 || !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(got[0]) {
		t.Errorf("it runs as %q", got)
	}
	for _, in := range image {
		if !slices.Contains([]string{"FROM", "LABEL", "COPY", "ENV", "WORKDIR", "USER", "EXPOSE", "CMD"}, in.name) {
			t.Errorf("%s %s: scratch can run nothing", in.name, in.args)
		}
	}
}

func compareVersions(a, b string) int {
	var x, y [3]int
	_, _ = fmt.Sscanf(a, "%d.%d.%d", &x[0], &x[1], &x[2])
	_, _ = fmt.Sscanf(b, "%d.%d.%d", &y[0], &y[1], &y[2])
	return slices.Compare(x[:], y[:])
}

// buildContext copies what .dockerignore lets through: everything is left
// out but what is named, without files of some kinds.
func buildContext(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	var take, leave []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line == "*" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "!"):
			take = append(take, line[1:])
		case strings.HasPrefix(line, "**/"):
			leave = append(leave, line[3:])
		default:
			t.Fatalf(".dockerignore: cannot read %q", line)
		}
	}
	dir := t.TempDir()
	for _, name := range take {
		err := filepath.WalkDir(filepath.Join("..", name), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			for _, pattern := range leave {
				if ok, _ := filepath.Match(pattern, d.Name()); ok && d.IsDir() {
					return fs.SkipDir
				} else if ok {
					return nil
				}
			}
			to := filepath.Join(dir, path[len("../"):])
			if d.IsDir() {
				return os.MkdirAll(to, 0o755)
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(to, content, 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// runBuild runs the build stage's commands, in the context, with out for /out.
func runBuild(t *testing.T, build []instruction, out string) {
	t.Helper()
	dir := buildContext(t)
	for _, command := range args(build, "RUN") {
		command = regexp.MustCompile(`--mount=\S+ +`).ReplaceAllString(command, "")
		command = strings.ReplaceAll(command, "/out/", out+"/")
		cmd := exec.Command("sh", "-ec", command)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+runtime.GOARCH, "VERSION=9.8.7-test", "GOFLAGS=-buildvcs=false")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, text)
		}
	}
}

// root lays out the image's file system, from what the build has left in out.
func root(t *testing.T, image []instruction, out string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	for _, line := range args(image, "COPY") {
		m := regexp.MustCompile(`^--from=build (?:--chown=(\d+):\d+ )?(\S+) (\S+)$`).FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("cannot read COPY %s", line)
		}
		from, to := m[2], filepath.Join(dir, m[3])
		if rest, ok := strings.CutPrefix(from, "/out/"); ok {
			from = filepath.Join(out, rest)
		}
		script := `mkdir -p "$(dirname "$2")" && cp -a "$1" "$2"`
		if m[1] != "" {
			script += ` && chown -R ` + m[1] + ` "$2"`
		}
		if text, err := exec.Command("sh", "-ec", script, "sh", from, to).CombinedOutput(); err != nil {
			t.Fatalf("COPY %s: %v: %s", line, err, text)
		}
	}
	return dir
}

// What the Dockerfile builds is built here by its own commands: the programs
// are static, small, tell their version, and run in its file system, which
// has nothing else, as its user.
func TestDockerfileBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the programs")
	}
	t.Parallel()
	build, image := stages(t)
	out := t.TempDir()
	runBuild(t, build, out)
	programs, err := filepath.Glob(filepath.Join(out, "bin", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range programs {
		names = append(names, filepath.Base(path))
		checkStatic(t, path)
		text, err := exec.Command(path, "--version").CombinedOutput()
		if err != nil || string(text) != "9.8.7-test\n" {
			t.Errorf("%s: %v: %s", filepath.Base(path), err, text)
		}
	}
	if want := []string{"dispatcher", "gateway", "taskgate"}; !slices.Equal(names, want) {
		t.Errorf("built %q, want %q", names, want)
	}
	if os.Getuid() != 0 {
		t.Log("not root: the image's file system is not tried")
		return
	}
	checkRuns(t, image, root(t, image, out))
}

func checkStatic(t *testing.T, path string) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Errorf("%s needs an interpreter", path)
		}
	}
	if libs, _ := f.ImportedLibraries(); len(libs) > 0 {
		t.Errorf("%s needs %q", path, libs)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > maxBinary {
		t.Errorf("%s: %v, %d MiB", filepath.Base(path), err, info.Size()>>20)
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CGO_ENABLED=0", "-trimpath=true", "-tags=timetzdata"} {
		if !slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key+"="+s.Value == want }) {
			t.Errorf("%s is not built with %s", filepath.Base(path), want)
		}
	}
}

// checkRuns starts the smallest whole Taskgate in the file system, and asks
// it how it is by the image's own means.
func checkRuns(t *testing.T, image []instruction, dir string) {
	t.Helper()
	var uid uint32
	if _, err := fmt.Sscanf(args(image, "USER")[0], "%d:", &uid); err != nil {
		t.Fatal(err)
	}
	command := func(words ...string) *exec.Cmd {
		cmd := &exec.Cmd{Path: "/usr/local/bin/taskgate", Args: append([]string{"taskgate"}, words...), Dir: args(image, "WORKDIR")[0]}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: dir, Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		cmd.Env = []string{
			args(image, "ENV")[0], "TASKGATE_LISTEN=127.0.0.1:0", "TASKGATE_ADMIN_LISTEN=127.0.0.1:0",
			"TASKGATE_ADMIN_KEY=tg_0123456789abcdef", "TASKGATE_SECRET_KEY=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		}
		return cmd
	}
	server := command("serve")
	logs, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(time.Minute, func() { _ = server.Process.Kill() })
	defer watchdog.Stop()
	base := ""
	var said bytes.Buffer
	lines := bufio.NewScanner(logs)
	for base == "" && lines.Scan() {
		said.Write(append(lines.Bytes(), '\n'))
		if m := regexp.MustCompile(`"msg":"ready".*"api":"([^"]+)"`).FindStringSubmatch(lines.Text()); m != nil {
			base = "http://" + m[1]
		}
	}
	if base == "" {
		_ = server.Wait()
		t.Fatalf("it does not start: %s", &said)
	}
	if text, err := command("health", base).CombinedOutput(); err != nil || string(text) != "ready\n" {
		t.Errorf("health: %v: %s", err, text)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // to its end
		said.Write(append(lines.Bytes(), '\n'))
	}
	if err := server.Wait(); err != nil {
		t.Errorf("it ended with %v: %s", err, &said)
	}
}
