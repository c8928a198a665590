// Command taskgate runs gateway and dispatcher in one process on an embedded
// store: "taskgate dev" on a laptop, "taskgate serve" as a small production.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/taskgate/taskgate/internal/app"
	"github.com/taskgate/taskgate/internal/config"
)

// command is one of the program's parts that run on this machine.
type command struct {
	name string
	help string // one line
	run  func(p app.Process) int
}

// commands are listed by the help in this order. A new one needs a line here.
var commands = []command{
	{
		"dev", "everything in one process on loopback, no keys; --echo adds a handler that answers",
		func(p app.Process) int { return app.Main(config.Dev, p) },
	},
	{
		"serve", "the same process for a small production: keys required, any listener",
		func(p app.Process) int { return app.Main(config.Serve, p) },
	},
}

func main() { os.Exit(run(app.OS(os.Args[1:], os.Environ()))) }

func run(p app.Process) int {
	if len(p.Args) == 0 {
		return say(p.Stderr, usage(), 2)
	}
	name := p.Args[0]
	p.Args = p.Args[1:]
	for _, c := range commands {
		if c.name == name {
			return c.run(p)
		}
	}
	switch name {
	case "help", "--help", "-h":
		return say(p.Stdout, usage(), 0)
	case "version", "--version":
		return say(p.Stdout, app.Version()+"\n", 0)
	}
	return say(p.Stderr, fmt.Sprintf("taskgate: no command %q\n\n%s", name, usage()), 2)
}

func usage() string {
	var b strings.Builder
	b.WriteString("Usage: taskgate <command> [flags]\n\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "  %-8s%s\n", c.name, c.help)
	}
	b.WriteString(`
"taskgate <command> --help" lists the flags. Gateway and dispatcher for RabbitMQ and
Redis are programs of their own: gateway, dispatcher.
`)
	return b.String()
}

func say(w io.Writer, text string, code int) int {
	fmt.Fprint(w, text)
	return code
}
