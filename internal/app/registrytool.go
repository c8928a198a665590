package app

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/taskgate/taskgate/internal/config"
	"github.com/taskgate/taskgate/internal/registry"
	"github.com/taskgate/taskgate/internal/sqlitedb"
)

const registryUsage = `Usage: taskgate registry export [--output FILE] [settings]
       taskgate registry import [--dry-run] [settings] FILE
       taskgate registry reseal [--dry-run] [settings]

Backs up, restores, and seals anew what operators configure: projects, endpoints and keys. It works
at the store itself, with the settings of the server (environment, --config), and not
through the API: also when no server runs. The embedded store (serve, dev) must not be in
use; Redis may.

Secrets stay sealed in the file: a registry can only be restored with the
TASKGATE_SECRET_KEY that it was exported with. Keep the two apart.

reseal encrypts every secret that an older key of TASKGATE_SECRET_KEY has encrypted with the
first one. Do it when every process has both keys; then the older one can be taken out.

import makes everything in the file what it is there, and deletes nothing. Keys that were
revoked in the registry stay revoked. Doing it again changes nothing.

`

// RegistryMain runs "taskgate registry" and returns the exit code.
func RegistryMain(p Process) int {
	t := registryTool{p: p, given: map[string]string{}}
	if len(p.Args) == 0 {
		fmt.Fprint(p.Stderr, registryUsage)
		return exitSetting
	}
	command, args := p.Args[0], p.Args[1:]
	do := map[string]func(context.Context, *App) error{"export": t.export, "import": t.restore, "reseal": t.reseal}[command]
	switch command {
	case "help", "--help", "-h":
		fmt.Fprint(p.Stdout, registryUsage)
		return exitOK
	}
	if do == nil {
		fmt.Fprintf(p.Stderr, "taskgate registry: no command %q\n\n%s", command, registryUsage)
		return exitSetting
	}
	if err := t.parse(command, args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		fmt.Fprintln(p.Stderr, "taskgate registry:", err)
		return exitSetting
	}
	a, err := t.app()
	if err != nil {
		fmt.Fprintln(p.Stderr, err)
		return exitSetting
	}
	if err := t.run(a, do); err != nil {
		fmt.Fprintln(p.Stderr, "taskgate registry:", err)
		if errors.Is(err, errFile) {
			return exitSetting
		}
		return exitFailed
	}
	return exitOK
}

// registryTool is one run of the command.
type registryTool struct {
	p     Process
	given map[string]string // settings by flag

	as     string
	output string
	file   string
	dry    bool
}

// errFile: the file is wrong; nothing was written.
var errFile = errors.New("nothing was imported")

func (t *registryTool) parse(command string, args []string) error {
	fs := flag.NewFlagSet("registry "+command, flag.ContinueOnError)
	fs.SetOutput(t.p.Stderr)
	fs.StringVar(&t.as, "as", "", "whose settings these are: gateway, serve or dev (default by TASKGATE_REDIS_URL and TASKGATE_SECRET_KEY)")
	for _, name := range []string{"config", "data", "namespace"} {
		fs.Func(name, "as of the server", func(v string) error { t.given[name] = v; return nil })
	}
	files := 0
	switch command {
	case "reseal":
		fs.BoolVar(&t.dry, "dry-run", false, "only say what would be done")
	case "export":
		fs.StringVar(&t.output, "output", "", "file to write, readable by its owner only (default: standard output)")
	default:
		fs.BoolVar(&t.dry, "dry-run", false, "only say what would be done")
		files = 1
	}
	fs.Usage = func() {
		fmt.Fprint(t.p.Stderr, registryUsage)
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() != files {
		return fmt.Errorf("%s takes %d file; see --help", command, files)
	}
	t.file = fs.Arg(0)
	return nil
}

// app is as of the server whose settings are given, but serves nothing.
func (t *registryTool) app() (*App, error) {
	role := config.Role(t.as)
	if role == "" {
		role = roleOf(lookUp(t.p.Environ))
	}
	if !slices.Contains([]config.Role{config.Gateway, config.Serve, config.Dev}, role) {
		return nil, fmt.Errorf("taskgate registry: --as %s: want gateway, serve or dev", role)
	}
	cfg, err := config.Load(role, config.Source{Environ: t.p.Environ, Flags: t.given, ReadFile: os.ReadFile})
	if err != nil {
		return nil, err
	}
	cfg.EndpointsFile = "" // whether it is good is not asked now
	return New(cfg, Options{Logs: t.p.Stderr, Stdout: t.p.Stdout, Environ: t.p.Environ})
}

// roleOf guesses whose environment it is.
func roleOf(env func(string) (string, bool)) config.Role {
	if url, _ := env("TASKGATE_REDIS_URL"); url != "" {
		return config.Gateway
	}
	if key, _ := env("TASKGATE_SECRET_KEY"); key != "" {
		return config.Serve
	}
	return config.Dev
}

// run ends early by a signal.
func (t *registryTool) run(a *App, do func(context.Context, *App) error) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- do(ctx, a) }()
	var err error
	select {
	case err = <-done:
	case s := <-t.p.Signals:
		cancel(fmt.Errorf("%s", s))
		err = <-done
	}
	stop, end := context.WithTimeout(context.Background(), closeGrace)
	defer end()
	err = errors.Join(err, a.Stop(stop))
	if errors.Is(err, sqlitedb.ErrLocked) {
		err = fmt.Errorf("%w; stop the server first, or ask it to: this command needs the folder for itself", err)
	}
	return err
}

func (t *registryTool) export(ctx context.Context, a *App) error {
	if a.cfg.Role.Embedded() {
		// Opening would make it.
		if _, err := os.Stat(a.cfg.DataDir); err != nil {
			return fmt.Errorf("TASKGATE_DATA: %w", err)
		}
	}
	b, err := a.openRegistry(ctx)
	if err != nil {
		return err
	}
	items, err := b.registry.Export(ctx)
	if err != nil {
		return err
	}
	if len(items) == 0 {
		return errors.New("there is nothing in this registry; are these the right settings")
	}
	doc := backup{Format: backupFormat, ExportedAt: time.Now().UTC().Truncate(time.Second), Items: []backupItem{}}
	for _, it := range items {
		doc.Items = append(doc.Items, backupItem{it.Kind, it.Project, it.Name, it.Value})
	}
	for _, one := range doc.Items {
		if err := b.secrets.readable(one); err != nil {
			fmt.Fprintf(t.p.Stderr, "warning: %s: %v: it cannot be imported with this key\n", one.named(), err)
		}
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("write the registry: %w", err)
	}
	text = append(text, '\n')
	if t.output == "" {
		_, err = t.p.Stdout.Write(text)
		return err
	}
	if err := os.WriteFile(t.output, text, 0o600); err != nil {
		return err
	}
	fmt.Fprintf(t.p.Stderr, "%d items written to %s\n", len(doc.Items), t.output)
	return nil
}

// reseal seals anew. Secrets that no key opens make it fail, after the others
// are done: taking the older key out would lose nothing more.
func (t *registryTool) reseal(ctx context.Context, a *App) error {
	b, err := a.openRegistry(ctx)
	if err != nil {
		return err
	}
	if err := b.registry.Sync(ctx); err != nil {
		return err
	}
	r, err := a.reseal(ctx, b, t.dry)
	if err != nil {
		return err
	}
	if t.dry {
		fmt.Fprintf(t.p.Stdout, "dry run, nothing was changed: %d secrets are sealed with an older key\n", r.stale)
	} else {
		fmt.Fprintf(t.p.Stdout, "%d secrets are sealed anew\n", r.changed)
	}
	return errors.Join(r.lost...)
}

// restore imports. Everything is checked before anything is written.
func (t *registryTool) restore(ctx context.Context, a *App) error {
	doc, err := readBackup(t.file)
	if err != nil {
		return errors.Join(err, errFile)
	}
	b, err := a.open(ctx)
	if err != nil {
		return err
	}
	if err := b.registry.Sync(ctx); err != nil {
		return err
	}
	if err := checkBackup(doc, b); err != nil {
		return errors.Join(err, errFile)
	}
	counts := map[registry.Imported]int{}
	for _, one := range doc.Items {
		did, err := importItem(ctx, b, one.item(), t.dry)
		if err != nil {
			return fmt.Errorf("%s: %w", one.named(), err)
		}
		if counts[did]++; did != registry.ImportUnchanged {
			fmt.Fprintf(t.p.Stdout, "%s: %s\n", one.named(), did)
		}
	}
	what := "imported"
	if t.dry {
		what = "dry run, nothing was changed"
	}
	fmt.Fprintf(t.p.Stdout, "%s: %d created, %d replaced, %d unchanged, %d revoked and left so\n", what,
		counts[registry.ImportCreated], counts[registry.ImportReplaced], counts[registry.ImportUnchanged], counts[registry.ImportRevoked])
	return nil
}
