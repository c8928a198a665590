package task

import "time"

// Document is a small value that is kept beside the tasks, such as a bulk job:
// bytes that only its owner understands, under a name in a group of its kind.
// Stores compare its version and order names; nothing else.
type Document struct {
	Kind, Group, Name string
	// Version counts the writes from 1; 0: there is no document.
	Version int64
	Data    []byte // at most MaxDocument bytes
	// KeepTill is when the store may forget it.
	KeepTill time.Time
}

// MaxDocument bounds a document's data.
const MaxDocument = 256 << 10
