package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// notFuzzed are functions that are named like parsers of outside bytes and need
// no fuzz test, each with the reason.
var notFuzzed = map[string]string{
	"internal/app registryTool.parse": "the command line of an operator, by package flag",
}

// alsoFuzzed read outside bytes under other names.
var alsoFuzzed = []string{
	"internal/api preferredWait", "internal/api readDocument", "internal/api mergePatch", "internal/api headerFault", "internal/api rawContentType",
	"internal/api parentOf", "internal/api ReadDeclared", "internal/api paramValue", "internal/api rawOptions.get", "internal/app readBackup",
	"internal/auth bearer", "internal/auth idOf", "internal/auth localHost", "internal/broker/rabbit open", "internal/cli refusal", "internal/cli retryAfter",
	"internal/config redactURLs", "internal/dispatch retryAfter", "internal/dispatch Verdict", "internal/dispatch Guard.CheckURL", "internal/dispatch Guard.addr",
	"internal/redisdb judge", "internal/registry Check", "internal/registry/redis meta", "internal/results Calls.hear", "internal/results/redis rowOf",
	"internal/results/redis document", "internal/seal Ring.Open", "internal/signing Verify", "internal/signing VerifyPublic", "internal/telemetry retryAfter",
	"internal/task StatusSet.Contains",
}

var parserName = regexp.MustCompile(`^(?i:parse|decode|unmarshal)`)

// Whatever reads bytes from outside has a fuzz test: its package's fuzz tests
// call it, themselves or by what they call in the package.
func TestEveryParserIsFuzzed(t *testing.T) {
	t.Parallel()

	found := map[string]bool{}
	for dir, p := range sources(t, "../..") {
		reached := p.reachedByFuzz()
		for name, decl := range p.product {
			id := dir + " " + name
			listed := slices.Contains(alsoFuzzed, id)
			if !listed && (!parserName.MatchString(decl.Name.Name) || !takesBytes(decl)) {
				continue
			}
			found[id] = true
			if _, excused := notFuzzed[id]; !excused && !reached[decl.Name.Name] {
				t.Errorf("%s reads what comes from outside, and no fuzz test of its package reaches it", id)
			}
		}
	}
	for _, id := range slices.Concat(alsoFuzzed, slices.Collect(maps.Keys(notFuzzed))) {
		if !found[id] {
			t.Errorf("%s is listed and is not there", id)
		}
	}
	if len(found) < 60 {
		t.Errorf("only %d parsers were found", len(found))
	}
}

// source is what a package declares, by name; methods as Type.Name.
type source struct {
	product, tests map[string]*ast.FuncDecl
	vars           map[string]ast.Node // variables of the package, which may hold functions
}

func sources(t *testing.T, root string) map[string]*source {
	t.Helper()
	out := map[string]*source{}
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, ".gen.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(rel)
		if out[dir] == nil {
			out[dir] = &source{map[string]*ast.FuncDecl{}, map[string]*ast.FuncDecl{}, map[string]ast.Node{}}
		}
		into := out[dir].product
		if strings.HasSuffix(path, "_test.go") {
			into = out[dir].tests
		}
		for _, d := range file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				into[receiver(fn)+fn.Name.Name] = fn
			}
			out[dir].addVars(d)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *source) addVars(d ast.Decl) {
	general, ok := d.(*ast.GenDecl)
	if !ok || general.Tok != token.VAR {
		return
	}
	for _, spec := range general.Specs {
		if values, ok := spec.(*ast.ValueSpec); ok && len(values.Values) == len(values.Names) {
			for i, name := range values.Names {
				s.vars[name.Name] = values.Values[i]
			}
		}
	}
}

func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	of := fn.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	if name, ok := of.(*ast.Ident); ok {
		return name.Name + "."
	}
	return ""
}

// takesBytes: a text, bytes, or what an HTTP request brings.
func takesBytes(fn *ast.FuncDecl) bool {
	return slices.ContainsFunc(fn.Type.Params.List, func(f *ast.Field) bool {
		switch of := f.Type.(type) {
		case *ast.Ident:
			return of.Name == "string" || of.Name == "any" || of.Name == "Wire"
		case *ast.ArrayType, *ast.StarExpr:
			return true
		case *ast.SelectorExpr:
			return of.Sel.Name == "Document" || of.Sel.Name == "Query" || of.Sel.Name == "RawMessage"
		}
		return false
	})
}

// reachedByFuzz are the names that the fuzz tests use, directly or through
// functions of the package.
func (s *source) reachedByFuzz() map[string]bool {
	byName := map[string][]ast.Node{}
	for _, all := range []map[string]*ast.FuncDecl{s.product, s.tests} {
		for _, fn := range all {
			byName[fn.Name.Name] = append(byName[fn.Name.Name], fn.Body)
		}
	}
	for name, value := range s.vars {
		byName[name] = append(byName[name], value)
	}
	reached := map[string]bool{}
	var visit func(in ast.Node)
	visit = func(in ast.Node) {
		ast.Inspect(in, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if !ok || reached[id.Name] || byName[id.Name] == nil {
				return true
			}
			reached[id.Name] = true
			for _, next := range byName[id.Name] {
				visit(next)
			}
			return true
		})
	}
	for name, fn := range s.tests {
		if strings.HasPrefix(name, "Fuzz") {
			visit(fn.Body)
		}
	}
	return reached
}
