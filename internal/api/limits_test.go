package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

func listOf(item string, n int) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }

func membersOf(n int, member string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, member+",", i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// TestAtTheLimits: what is refused one further is taken here; the table of
// refusals has the other side.
func TestAtTheLimits(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	name := strings.Repeat("e", 100)
	ep := w.endpoints["emails"]
	ep.Name = name
	w.endpoints[name] = ep
	waiting := "/v1/tasks/" + string(w.put(task.Queued, nil).ID)
	x := strings.Repeat
	submit := func(rest string) [4]string {
		return [4]string{"POST", "/v1/tasks", `{"endpoint":"emails",` + rest + `}`}
	}
	raw := func(query string) [4]string { return [4]string{"POST", "/v1/endpoints/emails/tasks?" + query, "x"} }
	// What is put around a payload of one byte so that the rest has 64 KiB.
	const around = `{"endpoint":"emails","payload":null,"labels":{"a":""}}`
	for what, r := range map[string][4]string{
		"an endpoint's name of 100":       {"POST", "/v1/tasks", `{"endpoint":"` + name + `"}`},
		"a delay of 365 days":             submit(`"delay":"365d"`),
		"no delay":                        submit(`"delay":"0s"`),
		"expires in 365 days":             submit(`"expires_in":"365d"`),
		"expires in a millisecond":        submit(`"expires_in":"1ms"`),
		"a start that has passed":         submit(`"run_at":"2020-01-01T00:00:00Z"`),
		"the endpoint's timeout":          submit(`"timeout":"30s"`),
		"the least timeout":               submit(`"timeout":"100ms"`),
		"the most result_ttl":             submit(`"result_ttl":"30d"`),
		"the least result_ttl":            submit(`"result_ttl":"1s"`),
		"1000 attempts":                   submit(`"retry":{"max_attempts":1000}`),
		"one attempt":                     submit(`"retry":{"max_attempts":1}`),
		"the most multiplier":             submit(`"retry":{"multiplier":100}`),
		"the least multiplier":            submit(`"retry":{"multiplier":1}`),
		"no jitter":                       submit(`"retry":{"jitter":0}`),
		"full jitter":                     submit(`"retry":{"jitter":1.0}`),
		"backoffs of 30 days":             submit(`"retry":{"min_backoff":"30d","max_backoff":"30d"}`),
		"max_age of 365 days":             submit(`"retry":{"max_age":"365d"}`),
		"a schedule of 100":               submit(`"retry":{"schedule":[` + listOf(`"1s"`, 100) + `]}`),
		"100 statuses":                    submit(`"retry":{"retry_on":[` + listOf(`"409"`, 100) + `],"fail_on":[` + listOf(`"400-599"`, 100) + `]}`),
		"16 labels":                       submit(`"labels":{` + membersOf(16, `"k%d":"v"`) + `}`),
		"a label's key of 63":             submit(`"labels":{"` + x("k", 63) + `":"v"}`),
		"a label's value of 255":          submit(`"labels":{"k":"` + x("v", 255) + `"}`),
		"a label's value of 255 of two":   submit(`"labels":{"k":"` + x("ä", 255) + `"}`),
		"a label's value of nothing":      submit(`"labels":{"k":""}`),
		"a pair of surrogates":            submit(`"labels":{"k":"\ud83d\ude00"}`),
		"half of a pair in a payload":     submit(`"payload":"\ud800"`),
		"50 headers":                      submit(`"headers":{` + membersOf(50, `"X-%d":"v"`) + `}`),
		"a header's name of 100":          submit(`"headers":{"` + x("X", 100) + `":"v"}`),
		"a header's value of 8192":        submit(`"headers":{"X-A":"` + x("v", 8192) + `"}`),
		"headers of 16 KiB":               submit(`"headers":{"X-A":"` + x("v", 8192) + `","X-B":"` + x("v", 8186) + `"}`),
		"a payload of 4 KiB":              submit(`"payload":"` + x("x", 4094) + `"`),
		"a payload of 2,000 levels":       submit(`"payload":` + x("[", 2000) + x("]", 2000)),
		"a payload with a name twice":     submit(`"payload":{"a":1,"a":2}`),
		"a payload of large numbers":      submit(`"payload":[123456789012345678901234567890,1e999]`),
		"null as a payload":               submit(`"payload":null`),
		"64 KiB beside the payload":       {"POST", "/v1/tasks", `{"endpoint":"emails","payload":1,"labels":{"a":""}}` + x(" ", 64<<10-len(around))},
		"blanks around":                   {"POST", "/v1/tasks", "{\"endpoint\" :\t\"emails\"\r\n}\n"},
		"a raw payload of 4 KiB":          {"POST", "/v1/endpoints/emails/tasks", x("x", 4096)},
		"a raw payload of any bytes":      {"POST", "/v1/endpoints/emails/tasks", "\x00\xff\r\n"},
		"16 raw labels":                   raw(strings.ReplaceAll(membersOf(16, "label=k%d:v"), ",", "&")),
		"a raw label of 319":              raw("label=" + x("k", 63) + ":" + x("v", 255)),
		"32 patterns to forward":          raw(strings.ReplaceAll(listOf("forward=X-A", 32), ",", "&")),
		"an idempotency key of 255":       {"POST", "/v1/tasks", `{"endpoint":"emails"}`, "Idempotency-Key: " + x("k", 255)},
		"an idempotency key of 255 again": {"POST", "/v1/tasks", `{"endpoint":"emails"}`, `Idempotency-Key: "` + x("q", 255) + `"`},
		"a foreign traceparent":           {"POST", "/v1/tasks", `{"endpoint":"emails"}`, "traceparent: " + x("0", 1000)},
		"preferences of others":           {"POST", "/v1/tasks", `{"endpoint":"emails"}`, "Prefer: respond-async, handling=lenient"},
		"a coding of none":                {"POST", "/v1/tasks", `{"endpoint":"emails"}`, "Content-Encoding: identity"},
		"JSON in UTF-8 by name":           {"POST", "/v1/tasks", `{"endpoint":"emails"}`, `Content-Type: Application/JSON; charset="UTF-8"`},
		"500 to a page":                   {"GET", "/v1/tasks?limit=500", ""},
		"one to a page":                   {"GET", "/v1/tasks?limit=1", ""},
		"every state":                     {"GET", "/v1/tasks?state=scheduled,queued,running,retrying,awaiting,succeeded,failed,cancelled,expired", ""},
		"16 labels asked for":             {"GET", "/v1/tasks?" + strings.ReplaceAll(membersOf(16, "label=k%d:v"), ",", "&"), ""},
		"a window of nothing":             {"GET", "/v1/tasks?created_after=2026-01-01T00:00:00Z&created_before=2026-01-01T00:00:00Z", ""},
		"a time with a fraction":          {"GET", "/v1/tasks?created_after=2026-01-01T00:00:00.123456789%2B01:00", ""},
		"rescheduled by 365 days":         {"POST", waiting + "/reschedule", `{"delay":"365d"}`},
		"rescheduled to the past":         {"POST", waiting + "/reschedule", `{"run_at":"` + time.Unix(0, 0).UTC().Format(time.RFC3339) + `"}`},
		"the least rate":                  {"POST", "/v1/tasks/cancel", `{"all":true,"rate":0.1}`},
		"the most rate":                   {"POST", "/v1/tasks/retry", `{"all":true,"rate":1000}`},
		"all states of a cancellation":    {"POST", "/v1/tasks/cancel", `{"filter":{"states":["scheduled","queued","running","retrying","awaiting"]}}`},
		"all states of a retry":           {"POST", "/v1/tasks/retry", `{"filter":{"states":["scheduled","retrying","succeeded","failed","cancelled","expired"]}}`},
	} {
		t.Run(what, func(t *testing.T) {
			var hs []string
			if r[3] != "" {
				hs = []string{r[3]}
			}
			if a := c.send(t, r[0], r[1], r[2], hs...); a.Code >= 300 {
				t.Errorf("refused: %d %s", a.Code, a.Body)
			}
		})
	}
}
