package cli

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completeCommand is what the scripts call: its arguments are the words of
// the command line up to the cursor, and each line of its answer is a
// candidate for the last word and, after a tab, what it means. The command
// line is known here only, so that the scripts never grow old.
const completeCommand = "__complete"

//go:embed completion/bash.sh
var scriptBash string

//go:embed completion/zsh.zsh
var scriptZsh string

//go:embed completion/fish.fish
var scriptFish string

// completionCmd is "taskgate completion".
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is the command's longer help.
func (*completionCmd) Help() string {
	return `bash: add  source <(taskgate completion bash)  to ~/.bashrc.
zsh:  add  source <(taskgate completion zsh)  to ~/.zshrc, after compinit.
fish: taskgate completion fish > ~/.config/fish/completions/taskgate.fish`
}

// Run prints the script.
func (c *completionCmd) Run(_ context.Context, s *session) error {
	return s.print(map[string]string{"bash": scriptBash, "zsh": scriptZsh, "fish": scriptFish}[c.Shell])
}

// completeWords prints the candidates for the last of the arguments.
func completeWords(p Process, others []Command) Exit {
	parser, _, err := newParser(p, others, func(int) {})
	if err != nil {
		return ExitUsage
	}
	for _, c := range complete(parser.Model, p.Args[1:]) {
		fmt.Fprintf(orDiscard(p.Stdout), "%s\t%s\n", c.word, c.help)
	}
	return ExitOK
}

// candidate is a word that could stand here.
type candidate struct{ word, help string }

// complete returns the candidates for the last word. None lets the shell
// offer files.
func complete(app *kong.Application, words []string) []candidate {
	if len(words) == 0 {
		words = []string{""}
	}
	last := words[len(words)-1]
	at := position{node: app.Node}
	for _, word := range words[:len(words)-1] {
		at.pass(word)
	}
	if at.value != nil {
		return enum(at.value, last, "")
	}
	if name, value, ok := strings.Cut(last, "="); ok && strings.HasPrefix(name, "--") && !at.noFlags {
		if flag := at.flag(name); flag != nil {
			return enum(flag.Value, value, name+"=")
		}
		return nil
	}
	if strings.HasPrefix(last, "-") && !at.noFlags {
		return at.flags(last)
	}
	return at.words(last)
}

// position is where the words before the last one have led.
type position struct {
	node    *kong.Node
	value   *kong.Value // of the flag before, which is still to come
	args    int         // positional arguments so far
	noFlags bool        // after "--"
}

// pass goes over one word.
func (p *position) pass(word string) {
	switch {
	case p.value != nil:
		p.value = nil
	case word == "--":
		p.noFlags = true
	case strings.HasPrefix(word, "-") && word != "-" && !p.noFlags:
		if flag := p.flag(word); flag != nil && !flag.IsBool() && !strings.Contains(word, "=") {
			p.value = flag.Value
		}
	default:
		for _, child := range p.node.Children {
			if child.Name == word && p.args == 0 {
				p.node = child
				return
			}
		}
		p.args++
	}
}

// flag finds a flag by its word.
func (p *position) flag(word string) *kong.Flag {
	name, _, _ := strings.Cut(word, "=")
	for _, flag := range p.all() {
		if name == "--"+flag.Name || flag.Short != 0 && name == "-"+string(flag.Short) {
			return flag
		}
	}
	return nil
}

// all are the flags that may stand here.
func (p *position) all() []*kong.Flag { return slices.Concat(p.node.AllFlags(true)...) }

func (p *position) flags(prefix string) []candidate {
	var out []candidate
	for _, flag := range p.all() {
		names := []string{"--" + flag.Name}
		if flag.Tag.Negatable != "" {
			names = append(names, "--no-"+flag.Name)
		}
		for _, name := range names {
			if strings.HasPrefix(name, prefix) {
				out = append(out, candidate{name, firstLine(flag.Help)})
			}
		}
	}
	return out
}

// words are the commands, or the values of the next positional argument.
func (p *position) words(prefix string) []candidate {
	var out []candidate
	for _, child := range p.node.Children {
		if !child.Hidden && strings.HasPrefix(child.Name, prefix) && p.args == 0 {
			out = append(out, candidate{child.Name, firstLine(child.Help)})
		}
	}
	if p.args < len(p.node.Positional) {
		out = append(out, enum(p.node.Positional[p.args], prefix, "")...)
	}
	return out
}

// enum are the values that a closed list allows; of a list of values, the
// last one is completed.
func enum(value *kong.Value, prefix, before string) []candidate {
	if at := strings.LastIndex(prefix, ","); at >= 0 && value.IsSlice() {
		before, prefix = before+prefix[:at+1], prefix[at+1:]
	}
	var out []candidate
	for _, word := range value.EnumSlice() {
		if word != "" && strings.HasPrefix(word, prefix) {
			out = append(out, candidate{before + word, ""})
		}
	}
	return out
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
