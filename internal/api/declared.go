package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

// Declared is what an endpoints file says: see [ReadDeclared] and
// [Server.Apply].
type Declared struct {
	projects  []declaredProject
	endpoints []declaredEndpoint
}

type declaredProject struct {
	name   string
	secret *string
}

type declaredEndpoint struct {
	project, name string
	in            gen.EndpointConfig
	wanted        task.Endpoint
}

// FileFault is one thing wrong with a file, and where.
type FileFault struct {
	Line    int    // 0: unknown
	Pointer string // JSON pointer (RFC 6901) to the value
	Detail  string // quotes no value
}

// FileErrors is everything that is wrong with a file.
type FileErrors []FileFault

// Error lists the faults, one a line.
func (f FileErrors) Error() string {
	lines := make([]string, len(f))
	for i, one := range f {
		where := one.Pointer
		if where == "" {
			where = "the file"
		}
		if lines[i] = where + ": " + one.Detail; one.Line > 0 {
			lines[i] = fmt.Sprintf("line %d: %s", one.Line, lines[i])
		}
	}
	return strings.Join(lines, "\n")
}

// declaration reads a file with the API's own checks.
type declaration struct {
	s      *Server
	yaml   yamlReader
	faults FileErrors
	out    Declared
}

// ReadDeclared reads and checks an endpoints file:
//
//	endpoints:        # of the project default
//	  <name>: {…}     # as the body of PUT /v1/endpoints/<name>
//	projects:
//	  <name>:
//	    secret: …     # signs the project's callbacks
//	    endpoints: {…}
//
// Names at the top that begin with "x-" are for what aliases refer to. A string
// that is ${NAME} as a whole is taken from the environment. The
// error, if any, is a [FileErrors] with every fault at once. Of deps only
// CheckURL and Secrets are used; nothing is opened.
func ReadDeclared(content []byte, env func(name string) (string, bool), deps Deps) (*Declared, error) {
	c, err := loadContract()
	if err != nil {
		return nil, err
	}
	d := declaration{s: &Server{Deps: deps, opt: Options{}.withDefaults(), contract: c}}
	d.yaml = yamlReader{env: env, note: d.note}
	if tree := d.yaml.read(content); tree != nil {
		d.file(tree)
	}
	if len(d.faults) > 0 {
		slices.SortStableFunc(d.faults, func(a, b FileFault) int { return a.Line - b.Line })
		return nil, d.faults
	}
	return &d.out, nil
}

// note keeps the first fault of each place: what cannot be read is not judged.
func (d *declaration) note(pointer, detail string) {
	if slices.ContainsFunc(d.faults, func(f FileFault) bool { return f.Pointer == pointer }) {
		return
	}
	d.faults = append(d.faults, FileFault{d.yaml.line(pointer), pointer, detail})
}

func (d *declaration) file(tree any) {
	if top, ok := tree.(map[string]any); ok {
		maps.DeleteFunc(top, func(name string, _ any) bool { return strings.HasPrefix(name, "x-") })
	}
	top := d.object("", tree, "endpoints", "projects")
	d.endpointsOf(auth.DefaultProject, "/endpoints", top["endpoints"])
	projects := d.object("/projects", top["projects"])
	for _, name := range slices.Sorted(maps.Keys(projects)) {
		d.project(name, at("/projects", name), projects[name])
	}
}

// object is a mapping, nil for none; with names, one of no others.
func (d *declaration) object(pointer string, v any, names ...string) map[string]any {
	out, ok := v.(map[string]any)
	if !ok && v != nil {
		d.note(pointer, "must be a mapping")
	}
	for name := range out {
		if len(names) > 0 && !slices.Contains(names, name) {
			d.note(at(pointer, name), "unknown field")
		}
	}
	return out
}

func (d *declaration) project(name, pointer string, v any) {
	d.name(d.s.contract.projectName, name, pointer)
	fields := d.object(pointer, v, "secret", "endpoints")
	p := declaredProject{name: name}
	if given, ok := fields["secret"]; ok {
		text, isText := given.(string)
		detail, good := d.s.Secrets.Check(text)
		if p.secret = &text; !isText {
			d.note(pointer+"/secret", "must be a string")
		} else if !good {
			d.note(pointer+"/secret", detail)
		}
	}
	d.out.projects = append(d.out.projects, p)
	d.endpointsOf(name, pointer+"/endpoints", fields["endpoints"])
}

func (d *declaration) name(schema *openapi3.Schema, name, pointer string) {
	conform(schema, name, func(_, detail string) { d.note(pointer, "has a name that "+detail) })
}

func (d *declaration) endpointsOf(project, pointer string, v any) {
	all := d.object(pointer, v)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		here := at(pointer, name)
		d.name(d.s.contract.endpointName, name, here)
		d.endpoint(project, name, here, all[name])
	}
}

func (d *declaration) endpoint(project, name, pointer string, v any) {
	ep := declaredEndpoint{project: project, name: name}
	var f faults
	conform(d.s.contract.endpoint, v, f.inBody)
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &ep.in)
	}
	// A member of the wrong type is noted above; the others are still read.
	if wrong := (*json.UnmarshalTypeError)(nil); err != nil && !errors.As(err, &wrong) {
		f.inBody("", "cannot be read as JSON")
	}
	ep.wanted = d.s.endpoint(&ep.in, &f)
	if a := ep.in.Auth; a != nil {
		for _, field := range authFields {
			if field.secret && string(field.of) == string(a.Type) && field.value(a) == nil {
				f.inBody("/auth/"+field.name, "is required in a file")
			}
		}
	}
	for _, fault := range f.body {
		d.note(pointer+fault.Pointer, fault.Detail)
	}
	d.out.endpoints = append(d.out.endpoints, ep)
}
