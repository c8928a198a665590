// Command taskgate runs gateway and dispatcher in one process on an embedded
// store: "taskgate dev" on a laptop, "taskgate serve" as a small production.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/taskgate/taskgate/internal/app"
	"github.com/taskgate/taskgate/internal/config"
)

const usage = `Usage: taskgate <command> [flags]

  dev     everything in one process on loopback, no keys; --echo adds a handler that answers
  serve   the same process for a small production: keys required, any listener

"taskgate <command> --help" lists the flags. Gateway and dispatcher for RabbitMQ and
Redis are programs of their own: gateway, dispatcher.
`

func main() { os.Exit(run(app.OS(os.Args[1:], os.Environ()))) }

func run(p app.Process) int {
	if len(p.Args) == 0 {
		return say(p.Stderr, usage, 2)
	}
	command := p.Args[0]
	p.Args = p.Args[1:]
	switch command {
	case "dev":
		return app.Main(config.Dev, p)
	case "serve":
		return app.Main(config.Serve, p)
	case "help", "--help", "-h":
		return say(p.Stdout, usage, 0)
	case "version", "--version":
		return say(p.Stdout, app.Version()+"\n", 0)
	}
	return say(p.Stderr, fmt.Sprintf("taskgate: no command %q\n\n%s", command, usage), 2)
}

func say(w io.Writer, text string, code int) int {
	fmt.Fprint(w, text)
	return code
}
