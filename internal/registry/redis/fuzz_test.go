package redis

import (
	"bytes"
	"testing"

	"github.com/taskgate/taskgate/internal/registry"
)

// FuzzDecode: a field of the hash is an item, whose written form reads as the
// same, or it is none.
func FuzzDecode(f *testing.F) {
	it := registry.Item{Key: registry.Key{Kind: "endpoint", Project: "p", Name: "e"}, Revision: 7, Value: []byte("{} x")}
	f.Add(field(it.Key), encode(it))
	f.Add("a\x00b\x00c\x00d", "1 1 ")
	f.Add("", "99999999999999999999 0 x")
	f.Add("a\x00b\x00", "-1 2  ")
	f.Fuzz(func(t *testing.T, name, value string) {
		it, ok := decode(name, value)
		if !ok {
			return
		}
		again, ok := decode(field(it.Key), encode(it))
		if !ok || again.Key != it.Key || again.Revision != it.Revision || again.Deleted != it.Deleted || !bytes.Equal(again.Value, it.Value) || field(it.Key) != name {
			t.Fatalf("%q %q is %+v, then %+v", name, value, it, again)
		}
	})
}

// FuzzMeta: what another program left there is no version.
func FuzzMeta(f *testing.F) {
	f.Add("e", "1")
	f.Add("", "")
	f.Add("e", "1.5")
	f.Fuzz(func(t *testing.T, epoch, version string) {
		for _, reply := range [][]any{{epoch, version}, {nil, version}, {epoch, nil}, {int64(1), version}, {epoch}, nil} {
			got, v, err := meta(reply)
			if err != nil && (got != "" || v != 0) {
				t.Fatalf("%v: %q, %d, %v", reply, got, v, err)
			}
		}
	})
}
