package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/mattn/go-isatty"
)

// Exit is the exit code of a command. The list is closed.
type Exit int

// The exit codes.
const (
	ExitOK          Exit = 0   // done; of wait and submit --wait: every task succeeded
	ExitNo          Exit = 1   // the server refused it or knows no such thing, or a task ended otherwise than succeeded
	ExitUsage       Exit = 2   // arguments, flags, settings or files are wrong; nothing was sent
	ExitUnavailable Exit = 3   // the server cannot be reached, or cannot serve now; or the output cannot be written
	ExitTimeout     Exit = 4   // the time was over first; the task goes on
	ExitInterrupted Exit = 130 // by a signal
)

// Exits are all exit codes with their meaning, for the documentation.
var Exits = []struct {
	Code    Exit
	Meaning string
}{
	{ExitOK, "done; for `wait` and `submit --wait`: every task succeeded"},
	{ExitNo, "the server refused it or knows no such thing, or an awaited task ended otherwise than succeeded"},
	{ExitUsage, "arguments, flags, settings or files are wrong; nothing was sent"},
	{ExitUnavailable, "the server cannot be reached or cannot serve now, also after the tries of `--retry-for`; or the output cannot be written"},
	{ExitTimeout, "`--timeout` was over first; the task goes on"},
	{ExitInterrupted, "interrupted by a signal"},
}

// Process is what the program is given by the system, so that tests can give
// it too.
type Process struct {
	Args     []string // without the program's name
	Environ  []string
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Signals  <-chan os.Signal
	Terminal bool // Stderr is read by a person: progress is shown there
	Version  string
}

// Command is a command of the program that is not a client of the API, such
// as dev and serve: it parses its own flags.
type Command struct {
	Name string
	Help string // one line
	Run  func(args []string) int
}

// IsTerminal says whether a person reads the file.
func IsTerminal(f *os.File) bool { return isatty.IsTerminal(f.Fd()) }

// Main runs one command and returns the exit code.
func Main(p Process, others ...Command) int {
	if len(p.Args) > 0 {
		for _, c := range others {
			if c.Name == p.Args[0] {
				return c.Run(p.Args[1:])
			}
		}
		if p.Args[0] == completeCommand {
			return int(completeWords(p, others))
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	done := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case sig := <-p.Signals:
			cancel(interrupted{sig})
		case <-done:
		}
	}()
	defer func() { close(done); <-watched }()
	return int(run(ctx, p, others))
}

// interrupted is why a context ended.
type interrupted struct{ sig os.Signal }

func (i interrupted) Error() string { return i.sig.String() }

// run parses the arguments and runs the command they name.
func run(ctx context.Context, p Process, others []Command) Exit {
	s := &session{Process: p, asJSON: slices.Contains(p.Args, "--json")}
	var ended *Exit
	parser, opt, err := newParser(p, others, func(code int) {
		if ended == nil {
			ended = new(Exit(code))
		}
	})
	if err != nil {
		return s.fail(err)
	}
	s.opt = opt
	args, usage := arguments(p.Args)
	parsed, err := parser.Parse(args)
	switch {
	case ended != nil && usage:
		return ExitUsage
	case ended != nil:
		return *ended // --help or --version has been printed
	case err != nil:
		return s.fail(usageError(err))
	}
	s.asJSON = opt.JSON
	if p.Terminal && !s.asJSON {
		s.progress = newProgress(orDiscard(p.Stderr))
	}
	defer s.close()
	parsed.BindTo(ctx, (*context.Context)(nil))
	return s.fail(parsed.Run(s))
}

// arguments are those of the parser: help is a flag there, and no command at
// all is a wrong use that is answered with the help.
func arguments(args []string) (parse []string, usage bool) {
	switch {
	case len(args) == 0:
		return []string{"--help"}, true
	case args[0] == "help":
		return append(slices.Clone(args[1:]), "--help"), false
	case args[0] == "version":
		return append([]string{"--version"}, args[1:]...), false
	}
	return args, false
}

// usageError says which help to read.
func usageError(err error) error {
	f := &failure{exit: ExitUsage, Code: "usage", Title: "Wrong use", Detail: err.Error()}
	if parse, ok := errors.AsType[*kong.ParseError](err); ok {
		command := []string{program}
		for _, step := range parse.Context.Path {
			if step.Command != nil {
				command = append(command, step.Command.Name)
			}
		}
		f.hint = fmt.Sprintf("see %q", strings.Join(command, " ")+" --help")
	}
	return f
}
