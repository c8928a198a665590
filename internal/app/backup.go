package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/taskgate/taskgate/internal/registry"
	"github.com/taskgate/taskgate/internal/seal"
	"github.com/taskgate/taskgate/internal/task"
)

// backup is the document.
type backup struct {
	Format     string       `json:"format"`
	ExportedAt time.Time    `json:"exported_at"`
	Items      []backupItem `json:"items"`
}

const backupFormat = "taskgate.registry/1"

type backupItem struct {
	Kind    string          `json:"kind"`
	Project string          `json:"project"`
	Name    string          `json:"name,omitempty"`
	Value   json.RawMessage `json:"value"`
}

func (i backupItem) item() registry.Item {
	return registry.Item{Key: registry.Key{Kind: i.Kind, Project: i.Project, Name: i.Name}, Value: i.Value}
}

// named is how an item is told to people.
func (i backupItem) named() string {
	return strings.TrimSpace(i.Kind + " " + strings.Trim(i.Project+"/"+i.Name, "/"))
}

func readBackup(path string) (*backup, error) {
	content, err := readBounded(path, maxBackup)
	if err != nil {
		return nil, err
	}
	doc := &backup{}
	if err := json.Unmarshal(content, doc); err != nil || doc.Format == "" {
		return nil, fmt.Errorf("%s is not what taskgate registry export writes", path) // the cause would quote it
	}
	if doc.Format != backupFormat {
		return nil, fmt.Errorf("%s has the format %q; this version reads %q", path, doc.Format, backupFormat)
	}
	return doc, nil
}

// maxBackup bounds what is read.
const maxBackup = 256 << 20

// checkBackup names everything that is wrong with the document, and puts it in
// order.
func checkBackup(doc *backup, b *backends) error {
	slices.SortStableFunc(doc.Items, func(x, y backupItem) int {
		return registry.CompareForImport(x.item().Key, y.item().Key)
	})
	var errs []error
	seen := make(map[registry.Key]bool)
	for _, one := range doc.Items {
		it := one.item()
		err := registry.Check(it)
		if err == nil {
			err = b.secrets.readable(one)
		}
		_, there := b.registry.Project(it.Project)
		switch {
		case err != nil:
		case seen[it.Key]:
			err = errors.New("is there twice")
		case !there && !seen[registry.Key{Kind: registry.KindProject, Project: it.Project}] && it.Kind != registry.KindProject:
			err = errors.New("belongs to a project that is neither in the file nor in the registry")
		}
		if seen[it.Key] = true; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", one.named(), err))
		}
	}
	return errors.Join(errs...)
}

// importItem declares the item's queue, if it has one, and then writes it.
func importItem(ctx context.Context, b *backends, it registry.Item, dry bool) (registry.Imported, error) {
	queue := map[string]string{registry.KindEndpoint: it.Name, registry.KindProject: task.CallbackEndpoint}[it.Kind]
	if queue != "" && !dry {
		if err := b.queue.Declare(ctx, task.MakeEndpointID(it.Project, queue)); err != nil {
			return "", err
		}
	}
	return b.registry.Import(ctx, it, dry)
}

// sealed is what has the item's secrets; nil when it has none.
func (i backupItem) sealed() (*task.Endpoint, error) {
	switch i.Kind {
	case registry.KindEndpoint:
		ep := new(task.Endpoint)
		return ep, json.Unmarshal(i.Value, ep)
	case registry.KindProject:
		var p task.Project
		err := json.Unmarshal(i.Value, &p)
		return p.Callbacks(), err
	}
	return nil, nil //nolint:nilnil // it has none
}

var errOtherKey = errors.New("is sealed with another TASKGATE_SECRET_KEY than the one given")

// readable says why the item's secrets cannot be opened, nil when they can.
func (s secrets) readable(one backupItem) error {
	ep, err := one.sealed()
	if ep == nil || err != nil {
		return err
	}
	for _, sealed := range [][]byte{ep.SealedSecret.Current, ep.SealedSecret.Previous} {
		if len(sealed) > 0 && err == nil {
			_, err = s.ring.Open(sealed, ep.Project, ep.Name)
		}
	}
	if err == nil && ep.Auth != nil && len(ep.Auth.Sealed) > 0 {
		_, err = s.openTarget(ep)
	}
	if errors.Is(err, seal.ErrNoKey) {
		return errOtherKey
	}
	return err
}
