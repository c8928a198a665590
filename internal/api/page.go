package api

import (
	"encoding/base64"
	"slices"
	"strings"
)

// listing is a list that is in memory, sorted by name.
type listing[T any] struct {
	all  []T
	name func(*T) string
	// mark is in front of the list's cursors: its letter and version.
	mark string
}

// page cuts one page out of the list.
func (l listing[T]) page(limit *int, cursor *string) (page []T, next *string, err error) {
	after, err := l.after(cursor)
	if err != nil {
		return nil, nil, err
	}
	n := defaultLimit
	if limit != nil {
		n = *limit
	}
	from, found := slices.BinarySearchFunc(l.all, after, func(v T, name string) int {
		return strings.Compare(l.name(&v), name)
	})
	if found {
		from++
	}
	page = l.all[from:min(len(l.all), from+n)]
	if from+n < len(l.all) {
		last := l.mark + l.name(&page[len(page)-1])
		next = new(base64.RawURLEncoding.EncodeToString([]byte(last)))
	}
	return page, next, nil
}

func (l listing[T]) after(cursor *string) (name string, err error) {
	if cursor == nil || *cursor == "" {
		return "", nil
	}
	plain, err := base64.RawURLEncoding.DecodeString(*cursor)
	name, ok := strings.CutPrefix(string(plain), l.mark)
	if err != nil || !ok {
		return "", badCursor()
	}
	return name, nil
}
