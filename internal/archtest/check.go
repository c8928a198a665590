package archtest

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

const module = "github.com/taskgate/taskgate"

// pkg is a package, with what it imports under any build tag.
type pkg struct {
	path        string // relative to the module
	imports     []string
	testImports []string
}

// check returns a line for each import that breaks a rule, with the rule's reason.
func check(packages []pkg) []string {
	c := checker{}
	for _, p := range packages {
		c.pkg(p)
	}

	return c.faults
}

type checker struct{ faults []string }

func (c *checker) faultf(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(c.faults, text) {
		c.faults = append(c.faults, text)
	}
}

func (c *checker) pkg(p pkg) {
	if isSuite(p.path) {
		// A suite ships with nothing, so it may use what it needs.
		return
	}
	r, ok := roomOf(p.path)
	if !ok {
		c.faultf("%q is in no room: give it one in internal/archtest/rules.go", p.path)

		return
	}
	for _, to := range p.imports {
		c.ships(r, p.path, to)
	}
	if r.path == "e2e" {
		// Its code is its tests.
		for _, to := range p.testImports {
			if rel, ours := own(to); ours && !isSuite(rel) {
				c.rooms(r, p.path, rel)
			}
		}
	}
}

// ships checks an import by code that ships.
func (c *checker) ships(r room, from, to string) {
	rel, ours := own(to)
	switch {
	case ours && isSuite(rel):
		if r.path != "e2e" {
			c.faultf("%s imports %s: %s", from, rel, suiteWhy)
		}
	case ours:
		c.rooms(r, from, rel)
	case r.path == "internal/task" && !standard(to):
		c.faultf("%s imports %s: %s", from, to, domainWhy)
	case r.path != "e2e":
		c.outside(from, to)
	}
}

func (c *checker) rooms(r room, from, to string) {
	if under(to, r.path) {
		// A room's own packages are its own affair, but a driver below it is a room of its own.
		if below, ok := roomOf(to); ok && below.path == r.path {
			return
		}
	}
	for _, allowed := range r.may {
		if below, ok := roomOf(to); allowed == "internal" && under(to, allowed) || ok && below.path == allowed {
			return
		}
	}
	c.faultf("%s imports %s: %s", from, to, r.why)
}

func (c *checker) outside(from, to string) {
	for _, o := range outside {
		if !under(to, o.path) {
			continue
		}
		if !slices.ContainsFunc(o.in, func(place string) bool { return under(from, place) }) {
			c.faultf("%s imports %s: %s", from, to, o.why)
		}
	}
}

// roomOf returns the innermost room of a package.
func roomOf(rel string) (room, bool) {
	var found room
	for _, r := range rooms {
		if under(rel, r.path) && len(r.path) > len(found.path) {
			found = r
		}
	}

	return found, found.path != ""
}

// isSuite tells a package of tests by its name, as brokertest. archtest itself has rules that ship
// with nothing, too, but must not be imported even by tests.
func isSuite(rel string) bool {
	return strings.HasPrefix(rel, "internal/") && strings.HasSuffix(path.Base(rel), "test") && rel != "internal/archtest"
}

func own(importPath string) (rel string, ours bool) {
	rel, ours = strings.CutPrefix(importPath, module+"/")

	return rel, ours
}

func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")

	return !strings.Contains(first, ".")
}

func under(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
