package docs_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/nodetest"
	"github.com/taskgate/taskgate/internal/signing"
)

// find returns the code block of a language that contains a text.
func find(page, language, with string) (string, error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return "", err
	}
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(m[1], with) {
			return m[1], nil
		}
	}
	return "", fmt.Errorf("%s has no %s block with %q", page, language, with)
}

func block(t *testing.T, page, language, with string) string {
	t.Helper()
	code, err := find(page, language, with)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// receivers are the page's programs, each made ready to run.
var receivers = map[string]func(t *testing.T, code string) *exec.Cmd{
	"go": func(t *testing.T, code string) *exec.Cmd {
		t.Helper()
		dir := t.TempDir()
		write(t, dir, "main.go", code)
		if out, err := exec.Command("go", "build", "-o", dir+"/receiver", dir+"/main.go").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return exec.Command(dir + "/receiver")
	},
	"ts": func(t *testing.T, _ string) *exec.Cmd {
		t.Helper()
		return exec.Command("node", typescript(t, "receiver.js"))
	},
	"python": func(t *testing.T, code string) *exec.Cmd {
		t.Helper()
		if _, err := exec.LookPath("python3"); err != nil {
			if os.Getenv("TASKGATE_REQUIRE_SERVICES") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
		dir := t.TempDir()
		write(t, dir, "receiver.py", code)
		return exec.Command("python3", dir+"/receiver.py")
	},
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tsMains call the functions that the page's shorter blocks show.
var tsMains = map[string]string{
	"public.ts": `import { verifyPublic } from "./verify.js";
const [, , key, header, signed] = process.argv;
console.log(verifyPublic(key!, header!, Buffer.from(signed!)));`,
	"official.ts": `import { verified } from "./verified.js";
const [, , secret, id, timestamp, signature, body] = process.argv;
const headers = { "webhook-id": id!, "webhook-timestamp": timestamp!, "webhook-signature": signature! };
console.log(JSON.stringify(verified(body!, headers, secret!)));`,
}

// typescript returns a program made of the pages' TypeScript.
func typescript(t *testing.T, name string) string {
	t.Helper()
	nodetest.Need(t)
	out, err := tsPrograms()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(out, name)
}

// tsPrograms type-checks all TypeScript of the pages, once.
var tsPrograms = sync.OnceValues(func() (string, error) {
	files := maps.Clone(tsMains)
	for name, from := range map[string][2]string{
		"receiver.ts": {"receiving.md", "TASKGATE_SECRETS"}, "verify.ts": {"receiving.md", "verifyPublic("},
		"verified.ts": {"receiving.md", "standardwebhooks"}, "clients.ts": {"clients.md", "createClient"},
	} {
		var err error
		if files[name], err = find(from[0], "ts", from[1]); err != nil {
			return "", err
		}
	}
	p, err := nodetest.NewProject(files)
	if err != nil {
		return "", err
	}
	atEnd = func() { _ = os.RemoveAll(p.Dir) }
	if err := p.Generate("schema.ts"); err != nil {
		return "", err
	}
	return filepath.Join(p.Dir, "out"), p.Compile()
})

var atEnd = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	atEnd()
	os.Exit(code)
}

// start runs a receiver with secrets and returns its address.
func start(t *testing.T, cmd *exec.Cmd, secrets ...signing.Secret) string {
	t.Helper()
	shown := make([]string, len(secrets))
	for i, s := range secrets {
		shown[i] = s.Reveal()
	}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PORT=0", "TASKGATE_SECRETS=" + strings.Join(shown, " ")}
	var said bytes.Buffer // Python writes a line for each request
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	base, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		t.Fatalf("the receiver said %q: %v", line, err)
	}
	return base
}

// request is one delivery as Taskgate makes it, which a case spoils.
type request struct {
	id, body string
	at       time.Time
	secrets  []signing.Secret
	spoil    func(h http.Header, body *string)
}

func (r request) send(t *testing.T, base string) (status int, answer string) {
	t.Helper()
	h := http.Header{}
	h.Set(signing.HeaderID, r.id)
	h.Set(signing.HeaderTimestamp, signing.Timestamp(r.at))
	h.Set(signing.HeaderSignature, signing.Sign(r.id, r.at, []byte(r.body), r.secrets...))
	if r.spoil != nil {
		r.spoil(h, &r.body)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/tasks", strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(bytes.TrimSpace(text))
}

// The page's receivers take what Taskgate signs, once, and nothing else.
func TestReceivers(t *testing.T) {
	t.Parallel()
	for language, prepare := range receivers {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			known, next, foreign := signing.Generate(), signing.Generate(), signing.Generate()
			base := start(t, prepare(t, block(t, "receiving.md", language, "TASKGATE_SECRETS")), next, known)
			now := time.Now()
			only := []signing.Secret{known}
			body := "{\"n\":1}\r\n\x00\xff é"
			for _, c := range []struct {
				name   string
				r      request
				status int
			}{
				{"good", request{id: "a", at: now, body: body, secrets: only}, 200},
				{"empty", request{id: "b", at: now, secrets: only}, 200},
				{"the new secret while it is rotated", request{id: "c", at: now, secrets: []signing.Secret{next, known}}, 200},
				{"a secret that the receiver has not got yet", request{id: "d", at: now, secrets: []signing.Secret{foreign, known}}, 200},
				{"a scheme to come", request{id: "e", at: now, secrets: only, spoil: func(h http.Header, _ *string) {
					h.Set(signing.HeaderSignature, "v9,AAAA "+h.Get(signing.HeaderSignature))
				}}, 200},
				{"4 minutes old", request{id: "f", at: now.Add(-4 * time.Minute), secrets: only}, 200},
				{"tampered body", request{id: "g", at: now, body: body, secrets: only, spoil: func(_ http.Header, b *string) { *b += " " }}, 401},
				{"another task's id", request{id: "h", at: now, secrets: only, spoil: func(h http.Header, _ *string) { h.Set(signing.HeaderID, "a2") }}, 401},
				{"another time", request{id: "i", at: now, secrets: only, spoil: func(h http.Header, _ *string) {
					h.Set(signing.HeaderTimestamp, signing.Timestamp(now.Add(time.Second)))
				}}, 401},
				{"old", request{id: "j", at: now.Add(-6 * time.Minute), secrets: only}, 401},
				{"from the future", request{id: "k", at: now.Add(6 * time.Minute), secrets: only}, 401},
				{"a foreign secret", request{id: "l", at: now, secrets: []signing.Secret{foreign}}, 401},
				{"no secret", request{id: "m", at: now}, 401},
				{"no headers", request{id: "n", at: now, secrets: only, spoil: func(h http.Header, _ *string) { clear(h) }}, 401},
				{"garbage", request{id: "o", at: now, secrets: only, spoil: func(h http.Header, _ *string) {
					h.Set(signing.HeaderSignature, "v1,*** v1 ,, v1,")
				}}, 401},
				{"no time", request{id: "p", at: now, secrets: only, spoil: func(h http.Header, _ *string) { h.Set(signing.HeaderTimestamp, "soon") }}, 401},
				{"too large", request{id: "q", at: now, body: strings.Repeat("x", 1<<20+100_000), secrets: only}, 413},
			} {
				if status, answer := c.r.send(t, base); status != c.status {
					t.Errorf("%s: %d %s, want %d", c.name, status, answer, c.status)
				}
			}
			_, first := request{id: "a", at: now.Add(time.Second), body: body, secrets: only}.send(t, base)
			if compact := strings.ReplaceAll(first, " ", ""); !strings.Contains(compact, `"works":1`) {
				t.Errorf("the same task again was answered %s", first)
			}
		})
	}
}

func TestPublicKeySnippets(t *testing.T) {
	t.Parallel()
	secret := signing.GenerateKeyPair()
	public, _ := secret.Public()
	now := time.Now()
	header := signing.Sign("id", now, []byte("body"), signing.GenerateKeyPair(), secret)
	good, bad := "id."+signing.Timestamp(now)+".body", "id."+signing.Timestamp(now)+".other"

	t.Run("go", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		code := strings.Replace(block(t, "receiving.md", "go", "func Public("), "package verify", "package main", 1)
		write(t, dir, "verify.go", code)
		write(t, dir, "main.go", "package main\n\nimport (\"fmt\"; \"os\")\n\nfunc main() { a := os.Args; fmt.Println(Public(a[1], a[2], []byte(a[3]))) }\n")
		program := []string{"go", "run", dir + "/main.go", dir + "/verify.go"}
		checkSnippet(t, program, public.String(), header, good, bad)
	})
	t.Run("ts", func(t *testing.T) {
		t.Parallel()
		checkSnippet(t, []string{"node", typescript(t, "public.js")}, public.String(), header, good, bad)
	})
}

func checkSnippet(t *testing.T, program []string, key, header, good, bad string) {
	t.Helper()
	for signed, want := range map[string]string{good: "true", bad: "false"} {
		args := append(append([]string{}, program[1:]...), key, header, signed)
		out, err := exec.CommandContext(t.Context(), program[0], args...).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%q: %s %v, want %s", signed, out, err, want)
		}
	}
}

func TestOfficialPackageSnippet(t *testing.T) {
	t.Parallel()
	secret := signing.Generate()
	now := time.Now()
	program := typescript(t, "official.js")
	signature := signing.Sign("id", now, []byte(`{"n":1}`), signing.Generate(), secret)
	for body, ok := range map[string]bool{`{"n":1}`: true, `{"n":2}`: false} {
		cmd := exec.CommandContext(t.Context(), "node", program, secret.Reveal(), "id", signing.Timestamp(now), signature, body)
		if out, err := cmd.CombinedOutput(); (err == nil) != ok || ok && strings.TrimSpace(string(out)) != body {
			t.Errorf("%s: %s %v", body, out, err)
		}
	}
}
