package api

import (
	"slices"
	"strings"

	"github.com/taskgate/taskgate/internal/task"
)

// faults gathers everything that is wrong with one request.
type faults struct {
	params []task.Fault // query parameters, path and headers
	body   []task.Fault
	// late: one of them is none but for the time at which it is looked at.
	late bool
}

// param notes a fault of a parameter or header.
func (f *faults) param(name, detail string) { add(&f.params, name, detail) }

// inBody notes a fault at a JSON pointer. A body that is wrong as a whole has
// no parts to be wrong.
func (f *faults) inBody(pointer, detail string) {
	if len(f.body) == 0 || f.body[0].Pointer != "" {
		add(&f.body, pointer, detail)
	}
}

// maxFaults bounds the list: a body of nothing but faults is not worth more.
const maxFaults = 100

// add keeps the first fault of each place: the schema speaks before the
// meaning.
func add(list *[]task.Fault, pointer, detail string) {
	if len(*list) < maxFaults && !slices.ContainsFunc(*list, func(f task.Fault) bool { return f.Pointer == pointer }) {
		*list = append(*list, task.Fault{Pointer: pointer, Detail: detail})
	}
}

// unlessLate is the refusal of a submission. The repeat of one that was
// accepted may come when it would be too late to accept it: with a key and no
// other fault, late is what it is refused with if it is not known.
func (f *faults) unlessLate(key string) (late, err error) {
	if err = f.err(); key != "" && f.late && len(f.params)+len(f.body) == 1 {
		return err, nil
	}
	return nil, err
}

// err is the refusal, nil without faults. A wrong body outweighs a wrong
// parameter; both are listed.
func (f *faults) err() error {
	all := slices.Concat(f.params, f.body)
	if len(all) == 0 {
		return nil
	}
	slices.SortStableFunc(all, func(a, b task.Fault) int { return strings.Compare(a.Pointer, b.Pointer) })
	out := task.Errorf(codeInvalidParameter, "a parameter or header is wrong; see errors")
	if len(f.body) > 0 {
		out = task.Errorf(task.CodeInvalid, "the content is wrong; see errors")
	}
	out.Faults = all
	return out
}

// at joins a JSON pointer and a key (RFC 6901, section 3).
func at(pointer, key string) string { return pointer + "/" + pointerEscapes.Replace(key) }

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")
