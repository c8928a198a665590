package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/taskgate/taskgate/internal/task"
)

// Imported says what [Registry.Import] did, or would do, with an item.
type Imported string

// The outcomes.
const (
	ImportCreated   Imported = "created"
	ImportReplaced  Imported = "replaced"
	ImportUnchanged Imported = "unchanged"
	// ImportRevoked: it is a key that was revoked here, and stays so.
	ImportRevoked Imported = "revoked"
)

// Export returns everything that is there, projects first, then by kind,
// project and name. Secrets stay sealed.
func (r *Registry) Export(ctx context.Context) ([]Item, error) {
	if err := r.Sync(ctx); err != nil {
		return nil, err
	}
	items := slices.DeleteFunc(r.known().Items, func(it Item) bool { return it.Deleted })
	slices.SortFunc(items, func(a, b Item) int { return CompareForImport(a.Key, b.Key) })
	return items, nil
}

// CompareForImport puts projects before what belongs to them.
func CompareForImport(a, b Key) int {
	rank := func(k Key) string {
		if k.Kind == KindProject {
			return ""
		}
		return k.Kind
	}
	return cmp.Or(strings.Compare(rank(a), rank(b)), strings.Compare(a.Project, b.Project), strings.Compare(a.Name, b.Name))
}

// Check says what is wrong with an item that is to be imported.
func Check(it Item) error {
	switch it.Kind {
	case KindEndpoint:
		return fits(endpoints, it)
	case KindProject:
		return fits(projects, it)
	case KindKey:
		return fits(keys, it)
	}
	return task.Errorf(task.CodeInvalid, "%q is no kind of thing that this version knows", it.Kind)
}

func fits[T any](k *kind[T], it Item) error {
	var v T
	if err := json.Unmarshal(it.Value, &v); err != nil {
		return task.Errorf(task.CodeInvalid, "is not %s that this version can read", k.noun)
	}
	if k.keyOf(&v) != it.Key {
		return task.Errorf(task.CodeInvalid, "is filed under another name than its own")
	}
	return nil
}

// Import makes an item what it is in a backup, durably when it returns; with
// dry it only says what it would do. Doing it again changes nothing.
func (r *Registry) Import(ctx context.Context, it Item, dry bool) (Imported, error) {
	if err := Check(it); err != nil {
		return "", err
	}
	var value bytes.Buffer
	if err := json.Compact(&value, it.Value); err != nil {
		return "", task.Wrap(task.CodeInvalid, err, "is not JSON")
	}
	if err := r.Sync(ctx); err != nil {
		return "", err
	}
	did := r.wouldImport(it.Key, value.Bytes())
	if dry || did == ImportUnchanged || did == ImportRevoked {
		return did, nil
	}
	return did, r.change(ctx, it.Key, func() (Item, error) {
		if did = r.wouldImport(it.Key, value.Bytes()); did == ImportRevoked {
			return Item{}, task.Errorf(task.CodeConflict, "was revoked meanwhile")
		}
		return Item{Key: it.Key, Value: value.Bytes()}, nil
	})
}

func (r *Registry) wouldImport(key Key, value []byte) Imported {
	r.mu.RLock()
	present, ok := r.items[key]
	r.mu.RUnlock()
	switch {
	case ok && present.Deleted && key.Kind == KindKey:
		return ImportRevoked
	case !ok || present.Deleted:
		return ImportCreated
	case bytes.Equal(present.Value, value):
		return ImportUnchanged
	}
	return ImportReplaced
}
