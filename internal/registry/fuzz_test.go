package registry

import (
	"strings"
	"testing"
)

// FuzzCheck: an item of a backup is what its name says, or is refused without
// being quoted: it holds sealed secrets and digests.
func FuzzCheck(f *testing.F) {
	f.Add("endpoint", "p", "e", []byte(`{"project":"p","name":"e","url":"https://example.com/"}`))
	f.Add("project", "p", "", []byte(`{"name":"p"}`))
	f.Add("key", "p", "k", []byte(`{"project":"p","id":"k","digest":"AAAA"}`))
	f.Add("endpoint", "p", "e", []byte(`{"project":"q","name":"e"}`))
	f.Add("schedule", "", "", []byte(`null`))
	f.Fuzz(func(t *testing.T, kind, project, name string, value []byte) {
		err := Check(Item{Key: Key{Kind: kind, Project: project, Name: name}, Value: value})
		known := kind == KindEndpoint || kind == KindProject || kind == KindKey
		if err == nil && !known {
			t.Fatalf("%q is taken", kind)
		}
		if err != nil && len(value) > 12 && strings.Contains(err.Error(), string(value)) && !strings.Contains(kind, string(value)) {
			t.Fatalf("%q is quoted: %v", value, err)
		}
	})
}

// FuzzView: what is stored under a name is seen under it, or is a fault, and
// never hides what else is there.
func FuzzView(f *testing.F) {
	f.Add("p", "e", []byte(`{"project":"p","name":"e","url":"https://example.com/"}`))
	f.Add("p", "e", []byte(`{"project":"q","name":"e"}`))
	f.Add("", "", []byte(`null`))
	f.Fuzz(func(t *testing.T, project, name string, value []byte) {
		good := Item{Key: endpointKey("there", "x"), Value: []byte(`{"project":"there","name":"x"}`)}
		one := Item{Key: endpointKey(project, name), Value: value}
		if one.Key == good.Key {
			return
		}
		v, faults := makeView(map[Key]Item{good.Key: good, one.Key: one}, nil, view{})
		if _, seen := v.endpoints.byKey[one.Key]; seen != (Check(one) == nil) || seen == (len(faults) == 1) {
			t.Fatalf("%q/%q %q: seen %t, faults %v", project, name, value, seen, faults)
		}
		if v.byID[v.endpoints.byKey[good.Key].ID()] == nil {
			t.Fatalf("%q hides another endpoint", value)
		}
	})
}
