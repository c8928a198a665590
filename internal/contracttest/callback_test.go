package contracttest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/internal/contracttest"
)

func TestCallbackBreachesAreTold(t *testing.T) {
	t.Parallel()
	checker, err := contracttest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	body := `{"type":"task.succeeded","timestamp":"2026-01-01T00:00:00Z","data":` + taskJSON + `}`
	for _, c := range []struct {
		name, body, want string
		header           []string
	}{
		{"as declared", body, "", nil},
		{"suspect", body, "", []string{"Taskgate-Suspect", "true"}},
		{"not signed", body, "webhook-signature: missing", []string{"webhook-signature", ""}},
		{"wrong header", body, "Taskgate-Suspect: ", []string{"Taskgate-Suspect", "perhaps"}},
		{"wrong type", strings.Replace(body, "task.succeeded", "task.lost", 1), "/type: ", nil},
		{"undeclared field", strings.Replace(body, `{"id"`, `{"colour":1,"id"`, 1), "colour", nil},
		{"another media type", body, "text/plain", []string{"Content-Type", "text/plain"}},
		{"no JSON", "{", "body: ", nil},
	} {
		h := http.Header{"Content-Type": {"application/json"}}
		for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
			h.Set(name, "1")
		}
		for i := 0; i+1 < len(c.header); i += 2 {
			h.Del(c.header[i])
			if c.header[i+1] != "" {
				h.Set(c.header[i], c.header[i+1])
			}
		}
		err := checker.Callback("taskEnded", h, []byte(c.body))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if checker.Callback("unheardOf", nil, nil) == nil {
		t.Error("a callback that is not in the contract passed")
	}
}
