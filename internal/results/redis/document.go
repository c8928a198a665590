package redis

import (
	"context"
	"strconv"

	"github.com/taskgate/taskgate/internal/task"
)

// documents are the keys of a group: one slot, the names and the documents.
func (k *keys) documents(kind, group string) (names, prefix string) {
	tag := k.ns + ":{d:" + kind + ":" + group + "}:"
	return tag + "names", tag + "d:"
}

// SwapDocument implements results.Driver.
func (d *Driver) SwapDocument(ctx context.Context, doc task.Document) (present task.Document, ok bool, err error) {
	names, prefix := d.keys.documents(doc.Kind, doc.Group)
	args := []any{doc.Name, doc.Version, millis(doc.KeepTill)}
	if doc.Data != nil {
		args = append(args, doc.Data)
	}
	reply, err := d.run(ctx, "swap document", swapDocumentScript, []string{prefix + doc.Name, names}, args...)
	if err != nil || reply == nil {
		return task.Document{}, err == nil, err
	}
	fields, _ := reply.([]any)
	present, err = document(doc.Kind, doc.Group, doc.Name, fields)
	return present, false, err
}

// document reads the values v, d.
func document(kind, group, name string, fields []any) (task.Document, error) {
	doc := task.Document{Kind: kind, Group: group, Name: name}
	if len(fields) != 2 {
		return doc, fail("read document", errReply)
	}
	version, ok := fields[0].(string)
	if !ok {
		return doc, nil
	}
	data, ok := fields[1].(string)
	v, err := strconv.ParseInt(version, 10, 64)
	if err != nil || !ok {
		return doc, fail("read document", errReply)
	}
	doc.Version, doc.Data = v, []byte(data)
	return doc, nil
}

// ReadDocument implements results.Driver.
func (d *Driver) ReadDocument(ctx context.Context, kind, group, name string) (task.Document, error) {
	if err := d.open(ctx); err != nil {
		return task.Document{}, err
	}
	_, prefix := d.keys.documents(kind, group)
	fields, err := d.c.HMGet(ctx, prefix+name, "v", "d").Result()
	if err != nil {
		return task.Document{}, fail("read document", err)
	}
	return document(kind, group, name, fields)
}

// ListDocuments implements results.Driver.
func (d *Driver) ListDocuments(
	ctx context.Context, kind, group, before string, limit int,
) (docs []task.Document, more bool, err error) {
	names, prefix := d.keys.documents(kind, group)
	from := "+"
	if before != "" {
		from = "(" + before
	}
	reply, err := d.run(ctx, "list documents", listDocumentsScript, []string{names}, from, limit+1, prefix)
	if err != nil {
		return nil, false, err
	}
	const width = 3
	fields, _ := reply.([]any)
	for i := 0; i+width <= len(fields); i += width {
		if len(docs) == limit {
			return docs, true, nil
		}
		name, _ := fields[i].(string)
		doc, err := document(kind, group, name, fields[i+1:i+width])
		if err != nil {
			return nil, false, err
		}
		docs = append(docs, doc)
	}
	return docs, false, nil
}
