package cli_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/internal/cli"
)

var others = []cli.Command{{Name: "dev", Help: "Run it here.", Run: func([]string) int { return 0 }}}

// candidates are the words that are offered after a command line.
func candidates(t *testing.T, words ...string) []string {
	t.Helper()
	var stdout bytes.Buffer
	if code := cli.Main(cli.Process{Args: append([]string{"__complete"}, words...), Stdout: &stdout}, others...); code != 0 {
		t.Fatalf("code %d", code)
	}
	var out []string
	for line := range strings.Lines(stdout.String()) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
		out = append(out, word)
	}
	return out
}

func TestComplete(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{
		"su":                             {"submit"},
		"endpoints pu":                   {"put", "purge"},
		"d":                              {"dev"},
		"--json endpoints re":            {"resume"},
		"--server http://x endpoints re": {"resume"},
		"--server=http://x endpoints re": {"resume"},
		"--server ":                      nil,
		"completion ":                    {"bash", "zsh", "fish"},
		"completion f":                   {"fish"},
		"completion fish ":               nil,
		"list --state f":                 {"failed"},
		"list --state=f":                 {"--state=failed"},
		"list --state failed,su":         {"failed,succeeded"},
		"submit --he":                    {"--help", "--header"},
		"submit emails --qui":            {"--quiet"},
		"submit emails -- --qui":         nil,
		"endpoints put x --no":           {"--no-paused"},
		"submit emails @":                nil,
		"nonsense":                       nil,
		"list --nonsense=":               nil,
	} {
		if got := candidates(t, strings.Split(line, " ")...); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
	if got := candidates(t); !slices.Contains(got, "submit") || !slices.Contains(got, "dev") {
		t.Errorf("nothing typed: got %q", got)
	}
}

// shell puts a taskgate, which is this program, into the PATH of a folder of
// its own, with a shell's script beside it.
func shell(t *testing.T, name string) (run func(script string) string, file string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(name + " is not installed")
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "taskgate")); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if code := cli.Main(cli.Process{Args: []string{"completion", name}, Stdout: &text}); code != 0 {
		t.Fatalf("code %d", code)
	}
	file = filepath.Join(dir, "completion."+name)
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(script string) string {
		t.Helper()
		cmd := exec.Command(path, "-c", script)
		cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir, asTaskgate + "=1"}
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}, file
}

func TestBashCompletion(t *testing.T) {
	t.Parallel()
	run, file := shell(t, "bash")
	run("bash -n " + file)
	for words, want := range map[string]string{
		`taskgate endpoints re`:                             "resume",
		`taskgate list --state = fa`:                        "failed",
		`taskgate list --state =`:                           "scheduled queued running retrying awaiting succeeded failed cancelled expired",
		`taskgate --server = http : //x endpoints resu`:     "resume",
		`taskgate submit @`:                                 "",
		`taskgate completion ''`:                            "bash zsh fish",
		`taskgate submit '{"a":1}' --idempotency-key=x --q`: "--quiet",
	} {
		got := run(`source ` + file + `
			complete -p taskgate >/dev/null || exit 1
			COMP_WORDS=(` + words + `); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
			_taskgate taskgate
			echo "${COMPREPLY[*]}"`)
		if got != want {
			t.Errorf("%s: got %q, want %q", words, got, want)
		}
	}
}

func TestZshCompletion(t *testing.T) {
	t.Parallel()
	run, file := shell(t, "zsh")
	run("zsh -n " + file)
	got := run(`autoload -Uz compinit && compinit -u -d ./dump && source ` + file + `
		[[ $_comps[taskgate] == _taskgate ]] || exit 1
		_describe() { print -r -- "${(P)4}" }
		words=(taskgate endpoints re) CURRENT=3
		_taskgate`)
	if !strings.Contains(got, "resume:End a pause") {
		t.Errorf("got %q", got)
	}
}

func TestFishCompletion(t *testing.T) {
	t.Parallel()
	run, file := shell(t, "fish")
	run("fish --no-execute " + file)
	got := run(`source ` + file + `; complete -C 'taskgate endpoints re'; complete -C 'taskgate list --state fa'; complete -C 'taskgate list --state=fa'; complete -C 'taskgate submit x @comp'`)
	for _, want := range []string{"resume\tEnd a pause", "failed", "--state=failed"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
}
