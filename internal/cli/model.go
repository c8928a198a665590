package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

const program = "taskgate"

// The settings of the client, in the environment. The server's settings begin
// with the same prefix and know these names.
const (
	envServer  = "TASKGATE_URL"
	envKey     = "TASKGATE_KEY"
	envKeyFile = "TASKGATE_KEY_FILE"
	envCAFile  = "TASKGATE_CA_FILE"
	envProject = "TASKGATE_PROJECT"

	projectHeader = "Taskgate-Project"
)

// options are the flags of every command, and the commands.
type options struct {
	Server   string           `default:"http://127.0.0.1:8080" help:"Base URL of the API."                                                     placeholder:"URL"      setting:"TASKGATE_URL"`
	KeyFile  string           `help:"File with the API key, instead of TASKGATE_KEY. A key is never an argument: those are visible to everyone." placeholder:"FILE"     setting:"TASKGATE_KEY_FILE"`
	CAFile   string           `help:"File with certificate authorities (PEM) to trust instead of the system's, for a server that speaks HTTPS by one of its own." name:"ca-file" placeholder:"FILE" setting:"TASKGATE_CA_FILE"`
	JSON     bool             `help:"Print JSON, one document a line; errors too."                                                             name:"json"`
	RetryFor time.Duration    `default:"10s"                   help:"How long to try again while the server cannot be reached or is not available." placeholder:"DURATION"`
	Project  string           `help:"Act in this project, for admins; a key's own project otherwise." placeholder:"NAME" setting:"TASKGATE_PROJECT"`
	Version  kong.VersionFlag `help:"Print the version and end."`

	Submit submitCmd `cmd:"" group:"tasks" help:"Submit a task."`
	Get    getCmd    `cmd:"" group:"tasks" help:"Show tasks, their attempts or their result."`
	Wait   waitCmd   `cmd:"" group:"tasks" help:"Wait until tasks have ended."`
	List   listCmd   `cmd:"" group:"tasks" help:"List tasks, newest first."`
	Tail   tailCmd   `cmd:"" group:"tasks" help:"Follow the state changes of tasks."`
	Cancel cancelCmd `cmd:"" group:"tasks" help:"Cancel tasks that have not ended, by id or by filter."`
	Retry  retryCmd  `cmd:"" group:"tasks" help:"Replay tasks that have ended, or run waiting ones now, by id or by filter."`

	Reschedule rescheduleCmd `cmd:"" group:"tasks" help:"Give waiting tasks another time."`
	Jobs       jobsCmd       `cmd:"" group:"tasks" help:"Changes of many tasks: list, show, wait, cancel."`

	Endpoints endpointsCmd `cmd:"" group:"admin" help:"Where tasks go: list, show, change, pause, test."`
	Keys      keysCmd      `cmd:"" group:"admin" help:"API keys: list, show, create, revoke."`
	Projects  projectsCmd  `cmd:"" group:"admin" help:"Projects: list, show, create, delete, rotate the callback secret."`

	Health     healthCmd     `cmd:"" group:"other" help:"Ask a server whether it can take requests."`
	Completion completionCmd `cmd:"" group:"other" help:"Print the completion script of a shell."`
}

// other is the model of a [Command].
type other struct {
	Args []string `arg:"" help:"Its own flags: see its --help." optional:""`

	run func(args []string) int
}

// Run runs the command when flags of ours stood before its name.
func (o *other) Run() error {
	if code := o.run(o.Args); code != 0 {
		return quiet(code)
	}
	return nil
}

// newParser builds the model. exit is called for --help and --version.
func newParser(p Process, others []Command, exit func(code int)) (*kong.Kong, *options, error) {
	opt := &options{}
	with := []kong.Option{
		kong.Name(program),
		kong.Description("A client of Taskgate, and Taskgate in one process."),
		kong.Writers(orDiscard(p.Stdout), orDiscard(p.Stderr)),
		kong.Exit(exit),
		kong.Vars{"version": p.Version},
		kong.Resolvers(environment(p.Environ)),
		kong.ValueFormatter(formatHelp),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 120}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "tasks", Title: "Tasks"},
			{Key: "admin", Title: "Administration"},
			{Key: "server", Title: "Servers on this machine"},
			{Key: "other", Title: "Other"},
		}),
	}
	if len(p.Args) == 0 { // the help that is printed tells of a wrong use
		with = append(with, kong.Writers(orDiscard(p.Stderr), orDiscard(p.Stderr)))
	}
	for _, c := range others {
		with = append(with, kong.DynamicCommand(c.Name, c.Help, "server", &other{run: c.Run}, `cmd:""`, `passthrough:""`))
	}
	parser, err := kong.New(opt, with...)
	if err != nil {
		return nil, nil, fmt.Errorf("build the command line: %w", err)
	}
	return parser, opt, nil
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// formatHelp names a flag's default and setting in its help.
func formatHelp(value *kong.Value) string {
	text := kong.DefaultHelpValueFormatter(value)
	if value.Default != "" {
		text += " Default " + value.Default + "."
	}
	if name := value.Tag.Get("setting"); name != "" {
		text += " ($" + name + ")"
	}
	return text
}

// environment resolves flags from the variables that their tag "setting"
// names. An empty value counts as not set.
type environment []string

// Validate accepts every model.
func (environment) Validate(*kong.Application) error { return nil }

// Resolve returns the value of the flag's variable.
func (e environment) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if value := e.get(flag.Tag.Get("setting")); value != "" {
		return value, nil
	}
	return nil, nil //nolint:nilnil // "not set" is nil to kong
}

// get returns the last of equal names, as a process sees it.
func (e environment) get(name string) string {
	value := ""
	if name == "" {
		return ""
	}
	for _, entry := range e {
		if k, v, ok := strings.Cut(entry, "="); ok && k == name {
			value = v
		}
	}
	return value
}
