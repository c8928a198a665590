package task_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/taskgate/taskgate/internal/task"
)

// What broker and store hold was written by us, and may have been touched by
// anybody since. Whatever it is, it is refused or it is read, and what was
// read reads the same when it is written again.

func FuzzDecodeHead(f *testing.F) {
	for _, s := range []string{
		`{"s":"queued","g":1,"q":1}`, `{"s":"running","g":2,"q":3,"n":4,"lt":"t","lo":"o","lu":1764000000000}`,
		`{"s":"nope"}`, `{}`, `{"s":"failed","e":-9223372036854775808}`, `{"s":"queued"}trailing`, `null`,
	} {
		f.Add([]byte(s), int64(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, version int64) {
		r, err := task.DecodeHead(b, version)
		if err != nil {
			return
		}
		if !r.State.Valid() || r.Version != version {
			t.Fatalf("%q: state %q, version %d", b, r.State, r.Version)
		}
		text, err := r.EncodeHead()
		if err != nil {
			t.Fatalf("%q is read and cannot be written: %v", b, err)
		}
		sameAgain(t, r, text, func(b []byte) (task.Record, error) { return task.DecodeHead(b, version) })
	})
}

func FuzzDecodeSpec(f *testing.F) {
	seed := spec()
	b, err := task.EncodeSpec(&seed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"id":1}`))
	f.Add([]byte(`{"timeout":"99999d"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := task.DecodeSpec(b)
		if err != nil {
			return
		}
		text, err := task.EncodeSpec(&s)
		if err != nil {
			return // a year that RFC 3339 cannot write
		}
		sameAgain(t, s, text, task.DecodeSpec)
	})
}

func FuzzDecodeAttempt(f *testing.F) {
	b, err := task.EncodeAttempt(&task.Attempt{Number: 1, Gen: 1, StartedAt: time.Unix(1, 0).UTC(), Answer: []byte("a"), Status: 500})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"took":"-1s"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := task.DecodeAttempt(b)
		if err != nil {
			return
		}
		text, err := task.EncodeAttempt(&a)
		if err != nil {
			return // as above
		}
		sameAgain(t, a, text, task.DecodeAttempt)
	})
}

func FuzzDecodeResult(f *testing.F) {
	b, err := task.EncodeResult(&task.Result{Status: 200, ContentType: "text/plain", Body: []byte("body")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02})
	f.Add([]byte{1, 2, '{', '}'})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := task.DecodeResult(b)
		if err != nil {
			return
		}
		if len(r.Body) > len(b) || !bytes.HasSuffix(b, r.Body) {
			t.Fatalf("%q: the body %q is not its tail", b, r.Body)
		}
		text, err := task.EncodeResult(&r)
		if err != nil {
			t.Fatal(err)
		}
		sameAgain(t, r, text, task.DecodeResult)
	})
}

func FuzzEnvelope(f *testing.F) {
	seed := task.Envelope{Spec: spec(), Payload: []byte(`{"a":1}`)}
	b, err := task.EncodeEnvelope(&seed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := task.DecodeEnvelope(b)
		if err != nil {
			return
		}
		if _, ok := task.ParseID(string(e.ID)); !ok || e.Project == "" || e.Endpoint == "" || !bytes.HasSuffix(b, e.Payload) {
			t.Fatalf("%q was taken for a task: %+v", b, e)
		}
		text, err := task.EncodeEnvelope(&e)
		if err != nil {
			return // as above
		}
		sameAgain(t, e, text, task.DecodeEnvelope)
	})
}

func sameAgain[T any](t *testing.T, v T, text []byte, read func([]byte) (T, error)) {
	t.Helper()
	again, err := read(text)
	if err != nil {
		t.Fatalf("written as %q, it cannot be read: %v", text, err)
	}
	// An empty list is as good as none. Times that RFC 3339 cannot write are
	// Unix milliseconds here.
	if d := cmp.Diff(v, again, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("written as %q, it reads as another: %s", text, d)
	}
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"01kad2t5m6f0q9v3zj8y4w7xhc7", "01KAD2T5M6F0Q9V3ZJ8Y4W7XHC7", "", strings.Repeat("0", 27), strings.Repeat("0", 26) + "g"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := task.ParseID(s)
		if !ok {
			if id != "" {
				t.Fatalf("%q is refused, and is %q", s, id)
			}
			return
		}
		// It names files, keys and queues: nothing in it may mean anything there.
		if string(id) != s || strings.Trim(s, "0123456789abcdefghjkmnpqrstvwxyz") != "" || id.Shard() < 0 || id.Shard() >= task.Shards {
			t.Fatalf("%q became %q of shard %d", s, id, id.Shard())
		}
		if again := task.MakeID(s[:26], id.Shard()); again != id {
			t.Fatalf("%q is made again as %q", s, again)
		}
	})
}

func FuzzStatusSet(f *testing.F) {
	for _, s := range []string{"500-599", "409", "409-408", "1e2", "+10", "-", "100-", "099", "0500", "٤٠٩"} {
		f.Add(s, 409)
	}
	f.Fuzz(func(t *testing.T, expr string, status int) {
		set := task.StatusSet{expr}
		valid := len((&task.Retry{RetryOn: set}).Validate("")) == 0
		if set.Contains(status) && (!valid || status < 100 || status > 599) {
			t.Fatalf("%q (valid: %t) contains %d", expr, valid, status)
		}
		if !valid {
			return
		}
		lo, hi, ranged := strings.Cut(expr, "-")
		if !ranged {
			hi = lo
		}
		if len(lo) != 3 || len(hi) != 3 || !set.Contains(number(lo)) || !set.Contains(number(hi)) {
			t.Fatalf("%q is valid and does not contain its own bounds", expr)
		}
	})
}

func number(digits string) (n int) {
	for _, r := range digits {
		n = n*10 + int(r-'0')
	}
	return n
}

func FuzzDurationText(f *testing.F) {
	for _, s := range []string{"1d12h", "90s", "0d", "65535d", "-1s", "1e9h", "2562047h47m16.854775807s", "1.5h", "1ns", "1us", "1µs", "00001d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := task.ParseDuration(s)
		if err != nil {
			if d != 0 || strings.Contains(err.Error(), s) && len(s) > 8 {
				t.Fatalf("%q: %s, %v", s, d, err)
			}
			return
		}
		text := task.Duration(d).String()
		if again, err := task.ParseDuration(text); err != nil || again != d {
			t.Fatalf("%q is %s, written %q, read %s, %v", s, d, text, again, err)
		}
		b, err := json.Marshal(task.Duration(d))
		var back task.Duration
		if err != nil || back.UnmarshalJSON(b) != nil || back != task.Duration(d) {
			t.Fatalf("%q in JSON is %s, then %s", s, b, back)
		}
	})
}

// FuzzParseAddress: what a key is bound to holds what was written, and nothing
// that the client's address could never be.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"192.0.2.0/24", "192.0.2.7/24", "2001:db8::/48", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "0.0.0.0/0", "1.2.3.4/33"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := task.ParseAddress(text)
		if !ok {
			return
		}
		again, ok := task.ParseAddress(p.String())
		if set := (task.AddressSet{p}); !ok || again != p || p != p.Masked() || !set.Has(p.Addr()) || !set.Covers(set) || p.Addr().Is4In6() {
			t.Fatalf("%q is %v, then %v", text, p, again)
		}
	})
}
