package wire_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/taskgate/taskgate/bench/internal/wire"
)

func TestPayload(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 40, 200, 1000, 64 << 10} {
		b := wire.Payload(123456, size)
		if !json.Valid(b) || len(b) != max(size, len(wire.Payload(123456, 0))) {
			t.Errorf("size %d: %d bytes, %.60s", size, len(b), b)
		}
		if n, ok := wire.Number(b, "n"); !ok || n != 123456 {
			t.Errorf("size %d: number %d, %v", size, n, ok)
		}
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 5)
	b := wire.Answer(7, now)
	if !json.Valid(b) || len(b) != 100 {
		t.Errorf("%d bytes: %s", len(b), b)
	}
	if n, ok := wire.Number(b, "n"); !ok || n != 7 {
		t.Errorf("number %d, %v", n, ok)
	}
	if at, ok := wire.Number(b, "t"); !ok || at != now.UnixNano() {
		t.Errorf("time %d, %v", at, ok)
	}
	if n, ok := wire.Number([]byte(`{"n": 12, "pad": ""}`), "n"); !ok || n != 12 {
		t.Errorf("with spaces: number %d, %v", n, ok)
	}
	for _, bad := range []string{"", `{"x":1}`, `{"n":}`, `{"n":x}`} {
		if n, ok := wire.Number([]byte(bad), "n"); ok {
			t.Errorf("%q holds number %d", bad, n)
		}
	}
}
