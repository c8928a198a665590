package sqlite

import (
	"context"

	"github.com/taskgate/taskgate/internal/sqlitedb"
	"github.com/taskgate/taskgate/internal/task"
)

const (
	readDocument = `SELECT version, data FROM documents
		WHERE kind = ? AND grp = ? AND name = ? AND keep_till > ?`
	listDocuments = `SELECT name, version, data FROM documents
		WHERE kind = ? AND grp = ? AND name < ? AND keep_till > ? ORDER BY name DESC LIMIT ?`
	writeDocument   = "INSERT OR REPLACE INTO documents (kind, grp, name, version, data, keep_till) VALUES (?, ?, ?, ?, ?, ?)"
	removeDocument  = "DELETE FROM documents WHERE kind = ? AND grp = ? AND name = ?"
	forgetDocuments = `DELETE FROM documents WHERE (kind, grp, name) IN
		(SELECT kind, grp, name FROM documents WHERE keep_till <= ? ORDER BY keep_till LIMIT ?)`
)

// afterNames is above every name: no text has this byte.
const afterNames = "\xff"

// SwapDocument implements [results.Driver].
func (d *Driver) SwapDocument(ctx context.Context, doc task.Document) (task.Document, bool, error) {
	var present task.Document
	var ok bool
	now := d.millis()
	err := d.write(ctx, sqlitedb.Durable, func(tx *sqlitedb.Tx) error {
		present = task.Document{Kind: doc.Kind, Group: doc.Group, Name: doc.Name}
		_, err := tx.Row(readDocument, []any{doc.Kind, doc.Group, doc.Name, now}, &present.Version, &present.Data)
		if err != nil {
			return err
		}
		if ok = present.Version == doc.Version; !ok {
			return nil
		}
		if doc.Data == nil {
			_, err := tx.Exec(removeDocument, doc.Kind, doc.Group, doc.Name)
			return err
		}
		_, err = tx.Exec(writeDocument, doc.Kind, doc.Group, doc.Name, doc.Version+1, doc.Data, millis(doc.KeepTill))
		return err
	})
	if err != nil {
		return task.Document{}, false, err // the others may still be written
	}
	return present, ok, nil
}

// ReadDocument implements [results.Driver].
func (d *Driver) ReadDocument(ctx context.Context, kind, group, name string) (task.Document, error) {
	doc := task.Document{Kind: kind, Group: group, Name: name}
	_, err := d.row(ctx, readDocument, []any{kind, group, name, d.millis()}, &doc.Version, &doc.Data)
	return doc, err
}

// ListDocuments implements [results.Driver].
func (d *Driver) ListDocuments(
	ctx context.Context, kind, group, before string, limit int,
) (docs []task.Document, more bool, err error) {
	if before == "" {
		before = afterNames
	}
	err = d.rows(ctx, listDocuments, []any{kind, group, before, d.millis(), limit + 1}, func(scan func(...any) error) error {
		doc := task.Document{Kind: kind, Group: group}
		if err := scan(&doc.Name, &doc.Version, &doc.Data); err != nil {
			return err
		}
		if more = len(docs) == limit; !more {
			docs = append(docs, doc)
		}
		return nil
	})
	return docs, more, err
}
