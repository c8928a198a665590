package resultstest

import (
	"bytes"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

func documentCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"documents: written, changed, removed by version":  documentLife,
		"documents: one winner of many":                    documentRace,
		"documents: gone after their time":                 documentGone,
		"documents: a later time prolongs":                 documentProlonged,
		"documents: lists go down by name, page by page":   documentPages,
		"documents: kinds, groups and tasks are apart":     documentsApart,
		"documents: large ones and any bytes, as they are": documentBytes,
	}
}

func (k *kit) document(name string, version int64, data string) task.Document {
	return task.Document{Kind: "k", Group: "g", Name: name, Version: version, Data: []byte(data), KeepTill: k.now.Add(hour)}
}

func (k *kit) putDocument(doc task.Document) {
	k.Helper()
	present, ok, err := k.d.SwapDocument(k.ctx, doc)
	k.ok(err)
	k.checkf(ok, "%s from version %d: %d is there", doc.Name, doc.Version, present.Version)
}

// refused makes a swap that must lose and returns what is there.
func (k *kit) refused(doc task.Document) task.Document {
	k.Helper()
	present, ok, err := k.peer.SwapDocument(k.ctx, doc)
	k.ok(err)
	k.checkf(!ok, "%s from version %d went through", doc.Name, doc.Version)
	return present
}

func (k *kit) readDocument(d results.Driver, name string) task.Document {
	k.Helper()
	doc, err := d.ReadDocument(k.ctx, "k", "g", name)
	k.ok(err)
	return doc
}

func documentLife(k *kit) {
	k.checkf(k.readDocument(k.d, "a").Version == 0, "a document that nobody wrote")
	k.checkf(k.refused(k.document("a", 3, "x")).Version == 0, "a swap of nothing found something")
	k.putDocument(k.document("a", 0, "one"))
	got := k.readDocument(k.peer, "a")
	k.checkf(got.Version == 1 && got.Kind == "k" && got.Group == "g" && got.Name == "a", "got %+v", got)
	k.same("data", got.Data, []byte("one"))
	k.putDocument(k.document("a", 1, "two"))
	for _, stale := range []int64{0, 1, 3} {
		present := k.refused(k.document("a", stale, "lost"))
		k.checkf(present.Version == 2 && present.Name == "a", "got %+v", present)
		k.same("present data", present.Data, []byte("two"))
	}
	remove := k.document("a", 2, "")
	remove.Data = nil
	stale := remove
	stale.Version = 1
	k.checkf(k.refused(stale).Version == 2, "a stale removal")
	k.putDocument(remove)
	k.checkf(k.readDocument(k.d, "a").Version == 0, "not removed")
	k.checkf(len(k.documents("g", 9)) == 0, "still listed")
	k.putDocument(k.document("a", 0, "again"))
	k.checkf(k.readDocument(k.d, "a").Version == 1, "not written again")
}

func documentRace(k *kit) {
	k.putDocument(k.document("a", 0, "first"))
	var won atomic.Int64
	together(racers, func(i int) {
		d := k.d
		if i%2 == 1 {
			d = k.peer
		}
		_, ok, err := d.SwapDocument(k.ctx, k.document("a", 1, fmt.Sprint(i)))
		if err != nil {
			k.Error(err)
		}
		if ok {
			won.Add(1)
		}
	})
	k.checkf(won.Load() == 1, "%d winners", won.Load())
	k.checkf(k.readDocument(k.d, "a").Version == 2, "version %d", k.readDocument(k.d, "a").Version)
}

func documentGone(k *kit) {
	for i := range 40 {
		doc := k.document(fmt.Sprintf("n%02d", i), 0, "x")
		if i != 7 {
			doc.KeepTill = time.Now().Add(2 * ttl)
		}
		k.putDocument(doc)
	}
	k.eventually("they are gone", func() bool { return k.readDocument(k.d, "n39").Version == 0 })
	k.eventually("only one is listed", func() bool { return slices.Equal(k.documents("g", 3), []string{"n07"}) })
	k.ok(k.d.Forget(k.ctx, project, time.Now()))
	k.checkf(k.refused(k.document("n39", 1, "x")).Version == 0, "a swap found what is gone")
	k.putDocument(k.document("n39", 0, "new"))
	k.checkf(slices.Equal(k.documents("g", 3), []string{"n39", "n07"}), "listed: %v", k.documents("g", 3))
}

func documentProlonged(k *kit) {
	short, other := k.document("a", 0, "x"), k.document("b", 0, "x")
	short.KeepTill = time.Now().Add(2 * ttl)
	other.KeepTill = short.KeepTill
	k.putDocument(short)
	k.putDocument(other)
	k.putDocument(k.document("a", 1, "y"))
	k.eventually("the other is gone", func() bool { return k.readDocument(k.d, "b").Version == 0 })
	k.checkf(slices.Equal(k.documents("g", 9), []string{"a"}), "listed: %v", k.documents("g", 9))
}

// documents reads a group page by page.
func (k *kit) documents(group string, limit int) (names []string) {
	k.Helper()
	before := ""
	for range 1000 {
		docs, more, err := k.d.ListDocuments(k.ctx, "k", group, before, limit)
		k.ok(err)
		k.checkf(len(docs) <= limit && (len(docs) > 0 || !more), "%d documents, limit %d, more %v", len(docs), limit, more)
		for _, doc := range docs {
			k.checkf(doc.Version > 0 && doc.Kind == "k" && doc.Group == group && len(doc.Data) > 0, "hollow: %+v", doc)
			names = append(names, doc.Name)
		}
		if !more {
			return names
		}
		before = docs[len(docs)-1].Name
	}
	k.Fatal("the list never ends")
	return nil
}

func documentPages(k *kit) {
	var want []string
	for i := range 23 {
		name := fmt.Sprintf("%02d", i*7%23)
		k.putDocument(k.document(name, 0, name))
		want = append(want, fmt.Sprintf("%02d", 22-i))
	}
	for _, limit := range []int{1, 5, 22, 23, 24} {
		got := k.documents("g", limit)
		k.checkf(slices.Equal(got, want), "limit %d: %v", limit, got)
	}
	docs, more, err := k.d.ListDocuments(k.ctx, "k", "g", "05x", 3)
	k.ok(err)
	k.checkf(len(docs) == 3 && docs[0].Name == "05" && more, "below a name that is not there: %+v", docs)
}

func documentsApart(k *kit) {
	c := k.create(k.row(k.id()))
	for _, where := range []task.Document{
		{Kind: "k", Group: "g"}, {Kind: "k", Group: ""}, {Kind: "k2", Group: "g"}, {Kind: "k", Group: "g2"},
	} {
		where.Name, where.Data, where.KeepTill = string(c.ID), []byte(where.Kind+"/"+where.Group), k.now.Add(hour)
		k.putDocument(where)
		got, err := k.d.ReadDocument(k.ctx, where.Kind, where.Group, where.Name)
		k.ok(err)
		k.same("data", got.Data, where.Data)
	}
	for _, group := range []string{"g", "", "g2"} {
		k.checkf(len(k.documents(group, 9)) == 1, "group %q: %v", group, k.documents(group, 9))
	}
	k.checkf(len(k.documents("none", 9)) == 0, "a group that nobody wrote to")
	k.checkf(k.read(c.ID).Version == 1, "the task of that name changed")
}

func documentBytes(k *kit) {
	for _, data := range [][]byte{{}, {0}, []byte("\xff\x00'\";--"), bytes.Repeat([]byte{7}, task.MaxDocument)} {
		doc := k.document("a", k.readDocument(k.d, "a").Version, "")
		doc.Data = data
		k.putDocument(doc)
		k.same("data", k.readDocument(k.peer, "a").Data, data)
	}
}
