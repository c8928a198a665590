// Command taskgate is the command line: a client of the API, and gateway and
// dispatcher in one process on an embedded store, "taskgate dev" on a laptop,
// "taskgate serve" as a small production.
package main

import (
	"os"

	"github.com/taskgate/taskgate/internal/app"
	"github.com/taskgate/taskgate/internal/cli"
	"github.com/taskgate/taskgate/internal/config"
)

// commands are the parts that run on this machine: everything else is a
// client. A new one needs a line here; it gets the arguments after its name.
var commands = []struct {
	name string
	help string // one line
	run  func(p app.Process) int
}{
	{
		"dev", "Run everything in one process on loopback, without keys; --echo adds a handler that answers.",
		func(p app.Process) int { return app.Main(config.Dev, p) },
	},
	{
		"serve", "Run the same process for a small production: keys required, any listener.",
		func(p app.Process) int { return app.Main(config.Serve, p) },
	},
	{
		"registry", "Back up (export) and restore (import) projects, endpoints and keys, at the store itself.",
		app.RegistryMain,
	},
}

func main() { os.Exit(run(app.OS(os.Args[1:], os.Environ()), os.Stdin, cli.IsTerminal(os.Stderr))) }

func run(p app.Process, stdin *os.File, terminal bool) int {
	return cli.Main(cli.Process{
		Args: p.Args, Environ: p.Environ, Stdin: stdin, Stdout: p.Stdout, Stderr: p.Stderr, Signals: p.Signals,
		Terminal: terminal, Version: app.Version(),
	}, parts(p)...)
}

func parts(p app.Process) []cli.Command {
	out := make([]cli.Command, len(commands))
	for i, c := range commands {
		out[i] = cli.Command{Name: c.name, Help: c.help, Run: func(args []string) int {
			p.Args = args
			return c.run(p)
		}}
	}
	return out
}
