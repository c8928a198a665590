package apitest

import (
	"fmt"
	"slices"
	"strings"
)

// lots repeats an item with separators.
func lots(item string, n int) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }

func times(s string, n int) string { return strings.Repeat(s, n) }

func get(name, target, code string, status int, pointers ...string) refusal {
	return refusal{name, "GET", target, "", nil, status, code, pointers}
}

// parameter is a refused parameter of the list of tasks.
func parameter(name, query string, pointers ...string) refusal {
	return get(name, "/v1/tasks?"+query, "invalid_parameter", 400, pointers...)
}

func job(name, action, body string, pointers ...string) refusal {
	return refusal{name, "POST", "/v1/tasks/" + action, body, nil, 422, "invalid", pointers}
}

// more are the rows of the later inventions.
func more(env Env) []refusal {
	var rows []refusal
	for _, part := range [][]refusal{
		texts(), numbers(), overLimits(), query(), paths(env), methods(), media(), callers(env), reschedules(env), jobs(),
	} {
		rows = append(rows, part...)
	}
	return rows
}

// texts are bodies that are no JSON, or JSON that means to confuse.
func texts() []refusal {
	deep := func(open, closing string, n int) string { return times(open, n) + times(closing, n) }
	asJSON := func(r refusal) refusal { return headers(r, "Content-Type: application/json") }
	return []refusal{
		asJSON(submit("byte order mark", "\xef\xbb\xbf"+`{"endpoint":"emails"}`, 400, "malformed")),
		asJSON(submit("UTF-16", "\xff\xfe{\x00}\x00", 400, "malformed")),
		submit("overlong UTF-8", "{\"endpoint\":\"\xc0\xae\"}", 400, "malformed"),
		submit("surrogates as UTF-8", "{\"endpoint\":\"\xed\xa0\x80\"}", 400, "malformed"),
		submit("half of a surrogate pair", `{"endpoint":"emails","labels":{"a":"\ud800"}}`, 422, "invalid", "/labels/a"),
		submit("halves in the wrong order", `{"endpoint":"\udc00\ud800"}`, 422, "invalid", "/endpoint"),
		submit("half a pair as a name", `{"endpoint":"emails","\ud800":1}`, 422, "invalid", "/\uFFFD"),
		submit("null byte in a text", "{\"endpoint\":\"a\x00b\"}", 400, "malformed"),
		submit("line break in a text", "{\"endpoint\":\"a\nb\"}", 400, "malformed"),
		submit("escaped null byte", `{"endpoint":"a\u0000b"}`, 422, "invalid", "/endpoint"),
		submit("unknown escape", `{"endpoint":"\x41"}`, 400, "malformed"),
		submit("short escape", `{"endpoint":"\u12"}`, 400, "malformed"),
		submit("single quotes", `{'endpoint':'emails'}`, 400, "malformed"),
		submit("no quotes", `{endpoint:"emails"}`, 400, "malformed"),
		submit("not a number", `{"endpoint":"emails","payload":NaN}`, 400, "malformed"),
		submit("infinity", `{"endpoint":"emails","payload":-Infinity}`, 400, "malformed"),
		submit("leading zero", `{"endpoint":"emails","payload":007}`, 400, "malformed"),
		submit("hexadecimal", `{"endpoint":"emails","payload":0x10}`, 400, "malformed"),
		submit("plus sign", `{"endpoint":"emails","payload":+1}`, 400, "malformed"),
		submit("point without digits", `{"endpoint":"emails","payload":1.}`, 400, "malformed"),
		submit("trailing bytes", `{"endpoint":"emails"}x`, 400, "malformed"),
		submit("trailing null byte", "{\"endpoint\":\"emails\"}\x00", 400, "malformed"),
		submit("closed too often", `{"endpoint":"emails"}}`, 400, "malformed"),
		asJSON(submit("form fields", "endpoint=emails&payload=1", 400, "malformed")),
		asJSON(submit("XML", `<task endpoint="emails"/>`, 400, "malformed")),
		asJSON(submit("NDJSON", "{\"endpoint\":\"emails\"}\n{\"endpoint\":\"emails\"}", 400, "malformed")),
		asJSON(submit("a number", "1e400", 422, "invalid", "")),
		asJSON(submit("a text", `"emails"`, 422, "invalid", "")),
		asJSON(submit("true", "true", 422, "invalid", "")),
		submit("10,000 levels of objects", `{"endpoint":"emails","x":`+deep(`{"a":`, "}", 10_000)+`}`, 400, "malformed"),
		submit("10,000 levels of arrays", `{"endpoint":"emails","x":`+deep("[", "]", 10_000)+`}`, 400, "malformed"),
		submit("33 levels", `{"endpoint":"emails","x":`+deep("[", "]", 33)+`}`, 400, "malformed"),
		submit("levels that never close", `{"endpoint":"emails","payload":`+times("[", 4000), 400, "malformed"),
		submit("900 unknown names", `{"endpoint":"emails",`+numbered(900)+`}`, 422, "invalid", firstUnknown(900)...),
		submit("5,000 unknown names", `{"endpoint":"emails",`+numbered(5000)+`}`, 400, "malformed"),
		invalid("900 labels", `"labels":{`+numbered(900)+`}`, append([]string{"/labels"}, beneath("/labels", firstUnknown(99))...)...),
		invalid("900 statuses to retry", `"retry":{"retry_on":[`+lots("0", 900)+`]}`, manyItems("/retry/retry_on", 99)...),
		submit("20,000 values in a list", `{"endpoint":"emails","x":[`+lots("0", 20_000)+`]}`, 400, "malformed"),
		submit("name twice by its escape", `{"endpoint":"emails","\u0065ndpoint":"emails"}`, 422, "invalid", "/endpoint"),
		submit("payload twice by its escape", `{"endpoint":"emails","payload":1,"p\u0061yload":2}`, 422, "invalid", "/payload"),
		submit("prototype pollution", `{"endpoint":"emails","__proto__":{"admin":true},"constructor":{}}`, 422, "invalid", "/__proto__", "/constructor"),
		submit("name of nothing", `{"endpoint":"emails","":1}`, 422, "invalid", "/"),
	}
}

// numbered are n members with names of their own.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"n%04d":0,`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// maxFaults is how many faults of a body are told.
const maxFaults = 100

// firstUnknown are the faults of the first hundred of n members.
func firstUnknown(n int) []string {
	var out []string
	for i := range min(n, maxFaults) {
		out = append(out, fmt.Sprintf("/n%04d", i))
	}
	return out
}

func beneath(pointer string, names []string) []string {
	for i := range names {
		names[i] = pointer + names[i]
	}
	return names
}

// manyItems are the faults of a list that is too long, and of its first items.
func manyItems(pointer string, n int) []string {
	out := []string{pointer}
	for i := range n {
		out = append(out, fmt.Sprintf("%s/%d", pointer, i))
	}
	slices.Sort(out)
	return out
}

// numbers are values of the right kind and of the wrong size, sign or form.
func numbers() []refusal {
	return []refusal{
		invalid("delay is null", `"delay":null`, "/delay"),
		invalid("delay is an object", `"delay":{"s":5}`, "/delay"),
		invalid("delay of nothing", `"delay":""`, "/delay"),
		invalid("delay with a blank", `"delay":"5 s"`, "/delay"),
		invalid("delay with a comma", `"delay":"1,5s"`, "/delay"),
		invalid("delay with an unknown unit", `"delay":"5w"`, "/delay"),
		invalid("delay beyond int64", `"delay":"9223372036854775807h"`, "/delay"),
		invalid("delay of a billion days", `"delay":"1000000000d"`, "/delay"),
		invalid("delay with an exponent", `"delay":"1e3s"`, "/delay"),
		invalid("delay with other digits", `"delay":"５s"`, "/delay"),
		invalid("delay in ISO 8601", `"delay":"PT5S"`, "/delay"),
		invalid("delay that is negative inside", `"delay":"1d-5s"`, "/delay"),
		invalid("a very long delay", `"delay":"`+times("1", 33)+`s"`, "/delay"),
		invalid("run_at without a zone", `"run_at":"2027-01-01T00:00:00"`, "/run_at"),
		invalid("run_at with a blank", `"run_at":"2027-01-01 00:00:00Z"`, "/run_at"),
		invalid("run_at is a date", `"run_at":"2027-01-01"`, "/run_at"),
		invalid("run_at is Unix time", `"run_at":1798761600`, "/run_at"),
		invalid("run_at in the 13th month", `"run_at":"2026-13-01T00:00:00Z"`, "/run_at"),
		invalid("run_at at 25 o'clock", `"run_at":"2026-12-01T25:00:00Z"`, "/run_at"),
		invalid("run_at in the year 10000", `"run_at":"10000-01-01T00:00:00Z"`, "/run_at"),
		invalid("run_at with a zone of a hundred hours", `"run_at":"2026-12-01T00:00:00+99:99"`, "/run_at"),
		invalid("expires_in of nothing", `"expires_in":"0s"`, "/expires_in"),
		invalid("max_attempts beyond int64", `"retry":{"max_attempts":99999999999999999999}`, "/retry/max_attempts"),
		invalid("max_attempts with an exponent", `"retry":{"max_attempts":1e2}`, "/retry/max_attempts"),
		invalid("max_attempts with a fraction of nothing", `"retry":{"max_attempts":3.0}`, "/retry/max_attempts"),
		invalid("max_attempts as a text", `"retry":{"max_attempts":"3"}`, "/retry/max_attempts"),
		invalid("negative max_attempts", `"retry":{"max_attempts":-1}`, "/retry/max_attempts"),
		invalid("max_attempts is true", `"retry":{"max_attempts":true}`, "/retry/max_attempts"),
		invalid("multiplier below one", `"retry":{"multiplier":0.99}`, "/retry/multiplier"),
		invalid("jitter over one", `"retry":{"jitter":1.0001}`, "/retry/jitter"),
		invalid("negative jitter", `"retry":{"jitter":-1e-9}`, "/retry/jitter"),
		invalid("retry is a number", `"retry":3`, "/retry"),
		invalid("retry is a list", `"retry":[]`, "/retry"),
		invalid("schedule is a text", `"retry":{"schedule":"1s"}`, "/retry/schedule"),
		invalid("status range turned round", `"retry":{"retry_on":["599-500"]}`, "/retry/retry_on/0"),
		invalid("status of four digits", `"retry":{"retry_on":["1000"]}`, "/retry/retry_on/0"),
		invalid("status 99", `"retry":{"fail_on":["99"]}`, "/retry/fail_on/0"),
		invalid("status as a number", `"retry":{"fail_on":[500]}`, "/retry/fail_on/0"),
		invalid("result_ttl below its least", `"result_ttl":"999ms"`, "/result_ttl"),
	}
}

// overLimits are values one over their limit; at the limit they are taken, as
// another table shows.
func overLimits() []refusal {
	return []refusal{
		submit("endpoint's name of 101", `{"endpoint":"`+times("e", 101)+`"}`, 422, "invalid", "/endpoint"),
		invalid("delay of 365 days and a millisecond", `"delay":"365d1ms"`, "/delay"),
		invalid("expires_in of 365 days and a millisecond", `"expires_in":"365d1ms"`, "/expires_in"),
		invalid("timeout a millisecond over the endpoint's", `"timeout":"30.001s"`, "/timeout"),
		invalid("timeout a millisecond under the least", `"timeout":"99ms"`, "/timeout"),
		invalid("result_ttl of 30 days and a second", `"result_ttl":"30d1s"`, "/result_ttl"),
		invalid("max_attempts of 1001", `"retry":{"max_attempts":1001}`, "/retry/max_attempts"),
		invalid("multiplier of 101", `"retry":{"multiplier":101}`, "/retry/multiplier"),
		invalid("min_backoff over 30 days", `"retry":{"min_backoff":"30d1s","max_backoff":"30d"}`, "/retry/min_backoff"),
		invalid("max_backoff over 30 days", `"retry":{"max_backoff":"30d1s"}`, "/retry/max_backoff"),
		invalid("max_age over 365 days", `"retry":{"max_age":"365d1s"}`, "/retry/max_age"),
		invalid("schedule of 101", `"retry":{"schedule":[`+lots(`"1s"`, 101)+`]}`, "/retry/schedule"),
		invalid("retry_on of 101", `"retry":{"retry_on":[`+lots(`"409"`, 101)+`]}`, "/retry/retry_on"),
		invalid("label's key of 64", `"labels":{"`+times("k", 64)+`":"v"}`, "/labels/"+times("k", 64)),
		invalid("label's value of 256", `"labels":{"k":"`+times("v", 256)+`"}`, "/labels/k"),
		invalid("label's value of 256 in two bytes each", `"labels":{"k":"`+times("ä", 256)+`"}`, "/labels/k"),
		invalid("51 headers", `"headers":{`+headerList(51)+`}`, "/headers"),
		invalid("header's name of 101", `"headers":{"`+times("X", 101)+`":"v"}`, "/headers/"+times("X", 101)),
		invalid("header's value of 8193", `"headers":{"X-A":"`+times("v", 8193)+`"}`, "/headers/X-A"),
		invalid("headers of 16 KiB and a byte", `"headers":{"X-A":"`+times("v", 8192)+`","X-B":"`+times("v", 8187)+`"}`, "/headers"),
		submit("payload of 4 KiB and a byte", `{"endpoint":"emails","payload":"`+times("x", 4095)+`"}`, 413, "payload_too_large"),
		submit("64 KiB and a byte beside the payload", overHead(), 413, "payload_too_large"),
		{"raw payload of 4 KiB and a byte", "POST", "/v1/endpoints/emails/tasks", times("x", 4097), nil, 413, "payload_too_large", nil},
		raw("raw label of 321", "label="+times("k", 60)+":"+times("v", 260), "label"),
		raw("17 raw labels", labelQuery(17), "label"),
		raw("33 patterns to forward", strings.TrimSuffix(times("forward=X-A&", 33), "&"), "forward"),
		put("endpoint's URL of 2049", `"url":"x"`, "/url"),
	}
}

func headerList(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"X-%d":"v",`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

func labelQuery(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "&label=k%d:v", i)
	}
	return b.String()[1:]
}

// overHead is a body of 64 KiB and a byte, its payload counted as null.
func overHead() string {
	const around = `{"endpoint":"emails","payload":null,"labels":{"a":""}}`
	return `{"endpoint":"emails","payload":1,"labels":{"a":"` + times("x", 64<<10-len(around)+1) + `"}}`
}

// query is about parameters.
func query() []refusal {
	return []refusal{
		parameter("limit below zero", "limit=-1", "limit"),
		parameter("limit with a plus", "limit=%2B5", "limit"),
		parameter("limit with an exponent", "limit=1e2", "limit"),
		parameter("limit with a fraction", "limit=1.0", "limit"),
		parameter("limit in hexadecimal", "limit=0x10", "limit"),
		parameter("limit in other digits", "limit=%EF%BC%95", "limit"),
		parameter("limit beyond int64", "limit=99999999999999999999", "limit"),
		parameter("limit of nothing", "limit=", "limit"),
		parameter("limit twice", "limit=1&limit=2", "limit"),
		parameter("limit in brackets", "limit[]=1", "limit[]"),
		parameter("state of nothing", "state=", "state"),
		parameter("states of nothing", "state=,,", "state"),
		parameter("state in capitals", "state=FAILED", "state"),
		parameter("ten states", "state="+lots("failed", 10), "state"),
		parameter("label of nothing", "label=", "label"),
		parameter("label without a key", "label=:v", "label"),
		parameter("label with a control character", "label=k:%00", "label"),
		parameter("label that is not UTF-8", "label=k:%ff", "label"),
		parameter("label twice", "label=k:1&label=k:2", "label"),
		parameter("17 labels", labelQuery(17), "label"),
		parameter("endpoint of 101", "endpoint="+times("e", 101), "endpoint"),
		parameter("endpoint twice in the query", "endpoint=a&endpoint=b", "endpoint"),
		parameter("created_before without a zone", "created_before=2026-01-01T00:00:00", "created_before"),
		parameter("created_after with a blank for its plus", "created_after=2026-01-01T00:00:00+01:00", "created_after"),
		parameter("created_after of nothing", "created_after=", "created_after"),
		parameter("cursor of nothing but signs", "cursor=%3D%3D%3D", "cursor"),
		parameter("cursor of an older kind", "cursor=MS4xNzAwMDAwMDAwMDAwLjAxa2FkMnQ1bTZmMHE5djN6ajh5NHc3eGhjNw", "cursor"),
		parameter("cursor of 1001", "cursor="+times("a", 1001), "cursor"),
		parameter("cursor with a null byte", "cursor=%00", "cursor"),
		parameter("parameter without a name", "=x", ""),
		parameter("parameter in capitals", "Limit=5", "Limit"),
		parameter("parameter of an attacker", "%3Cscript%3E=1", "<script>"),
		get("semicolons", "/v1/tasks?limit=5;state=failed", "invalid_parameter", 400),
		get("half an escape", "/v1/tasks?limit=5%2", "invalid_parameter", 400),
		get("wait without a unit", "/v1/tasks/01kad2t5m6f0q9v3zj8y4w7xhc7?wait=30", "invalid_parameter", 400, "wait"),
		get("negative wait", "/v1/tasks/01kad2t5m6f0q9v3zj8y4w7xhc7?wait=-1s", "invalid_parameter", 400, "wait"),
		get("wait of a job without a unit", "/v1/jobs/01kad2t5m6f0q9v3zj8y4w7xhc?wait=30", "invalid_parameter", 400, "wait"),
		get("unknown parameter of a task", "/v1/tasks/01kad2t5m6f0q9v3zj8y4w7xhc7?pretty", "invalid_parameter", 400, "pretty"),
		get("cursor of jobs", "/v1/jobs?cursor=bogus", "invalid_parameter", 400, "cursor"),
		get("cursor of tasks for jobs", "/v1/jobs?cursor=Mi4xNzAwMDAwMDAwMDAwLjAxa2FkMnQ1bTZmMHE5djN6ajh5NHc3eGhjNw", "invalid_parameter", 400, "cursor"),
		get("limit of jobs", "/v1/jobs?limit=501", "invalid_parameter", 400, "limit"),
		get("limit of endpoints", "/v1/endpoints?limit=0", "invalid_parameter", 400, "limit"),
		{"parameter of a cancellation", "POST", "/v1/tasks/01kad2t5m6f0q9v3zj8y4w7xhc7/cancel?force=1", "", nil, 400, "invalid_parameter", []string{"force"}},
	}
}

// paths is about places that are not there, and ways round.
func paths(env Env) []refusal {
	return []refusal{
		get("dots in the path", "/v1/tasks/../endpoints", "not_found", 404),
		get("dots at the end", "/v1/tasks/..", "not_found", 404),
		get("encoded dots", "/v1/tasks/%2e%2e", "not_found", 404),
		get("encoded slash behind an id", "/v1/tasks/"+env.Task+"%2Fresult", "not_found", 404),
		get("two slashes at the begin", "//v1/tasks", "not_found", 404),
		get("two slashes inside", "/v1//tasks", "not_found", 404),
		get("slash at the end", "/v1/tasks/", "not_found", 404),
		get("capitals in the path", "/V1/tasks", "not_found", 404),
		get("null byte behind an id", "/v1/tasks/"+env.Task+"%00", "not_found", 404),
		get("blank behind an id", "/v1/tasks/"+env.Task+"%20", "not_found", 404),
		get("id in capitals", "/v1/tasks/"+strings.ToUpper(env.Task), "not_found", 404),
		get("id of 65", "/v1/tasks/"+times("0", 65), "invalid_parameter", 400, "id"),
		get("id of a wildcard", "/v1/tasks/*", "not_found", 404),
		get("id with a newline", "/v1/tasks/"+env.Task+"%0a", "not_found", 404),
		get("parameters in the path", "/v1/tasks;limit=5", "not_found", 404),
		get("encoded question mark", "/v1/tasks%3Flimit=5", "not_found", 404),
		get("files", "/etc/passwd", "not_found", 404),
		get("files by dots", "/docs/../../etc/passwd", "not_found", 404),
		get("endpoint's name of dots", "/v1/endpoints/..", "invalid_parameter", 400, "name"),
		get("endpoint's name of a null byte", "/v1/endpoints/%00", "invalid_parameter", 400, "name"),
		get("endpoint's name of a hyphen", "/v1/endpoints/-a", "invalid_parameter", 400, "name"),
		get("endpoint's name of 101 by path", "/v1/endpoints/"+times("e", 101), "invalid_parameter", 400, "name"),
		get("endpoint's name that is not UTF-8", "/v1/endpoints/%ff", "invalid_parameter", 400, "name"),
		get("bulk action as a task", "/v1/tasks/cancel", "not_found", 404),
		get("job's id of a task", "/v1/jobs/"+env.Task, "not_found", 404),
		get("job's id of 65", "/v1/jobs/"+times("0", 65), "invalid_parameter", 400, "id"),
		{"cancel of nothing", "POST", "/v1/tasks//cancel", "", nil, 404, "not_found", nil},
		{"cancel of no job", "POST", "/v1/jobs/nope/cancel", "", nil, 404, "not_found", nil},
	}
}

func methods() []refusal {
	with := func(name, method, target string) refusal {
		return refusal{name, method, target, "", nil, 405, "method_not_allowed", nil}
	}
	return []refusal{
		with("delete every task", "DELETE", "/v1/tasks"),
		with("put a task", "PUT", "/v1/tasks/01kad2t5m6f0q9v3zj8y4w7xhc7"),
		with("get a cancellation", "GET", "/v1/tasks/01kad2t5m6f0q9v3zj8y4w7xhc7/cancel"),
		with("trace", "TRACE", "/v1/tasks"),
		with("method in small letters", "get", "/v1/tasks"),
		with("method that nobody knows", "BREW", "/v1/tasks"),
		with("post to a job", "POST", "/v1/jobs/01kad2t5m6f0q9v3zj8y4w7xhc"),
		with("delete of jobs", "DELETE", "/v1/jobs"),
		headers(with("another method in a header", "PATCH", "/v1/tasks"), "X-HTTP-Method-Override: DELETE"),
	}
}

// media is about media types, codings and other headers.
func media() []refusal {
	typed := func(name, value string) refusal {
		return headers(submit(name, good, 415, "unsupported_media_type"), "Content-Type: "+value)
	}
	parameter := func(name, header, value, pointer string) refusal {
		return headers(submit(name, good, 400, "invalid_parameter", pointer), header+": "+value)
	}
	return []refusal{
		headers(submit("no media type", good, 415, "unsupported_media_type"), "Content-Type: "),
		typed("form", "application/x-www-form-urlencoded"),
		typed("JSON with a suffix", "application/vnd.api+json"),
		typed("JSON of text", "text/json"),
		typed("UTF-16 by name", "application/json; charset=utf-16"),
		typed("two media types", "application/json, text/plain"),
		typed("nonsense as a media type", "json"),
		typed("parameter without end", `application/json; charset="utf-8`),
		headers(submit("media type twice", good, 415, "unsupported_media_type"), "Content-Type: application/json", "Content-Type: application/json"),
		headers(submit("compressed", good, 415, "unsupported_media_type"), "Content-Encoding: gzip"),
		headers(submit("compressed twice", good, 415, "unsupported_media_type"), "Content-Encoding: identity, br"),
		headers(submit("accept nothing", good, 406, "not_acceptable"), "Accept: */*;q=0"),
		headers(submit("accept images", good, 406, "not_acceptable"), "Accept: image/png"),
		headers(submit("accept signs", good, 406, "not_acceptable"), "Accept: ;;;,,,"),
		parameter("wait preferred at length", "Prefer", times("x", 256), "Prefer"),
		parameter("idempotency key with a tab inside", headerKey, "a\tb", headerKey),
		parameter("idempotency key of blanks", headerKey, `"`+""+`"`, headerKey),
		parameter("idempotency key with an escape", headerKey, `"a\n"`, headerKey),
		parameter("idempotency key with parameters", headerKey, `"a";q=1`, headerKey),
		parameter("idempotency key of 256 in quotes", headerKey, `"`+times("k", 256)+`"`, headerKey),
		headers(raw("raw option unknown in capitals", "", "Taskgate-Priority"), "TASKGATE-PRIORITY: high"),
		headers(raw("raw header with a reserved name", "", "Taskgate-Header-Webhook-Id"), "Taskgate-Header-Webhook-Id: 1"),
		headers(raw("raw header for framing", "", "Taskgate-Header-Content-Length"), "Taskgate-Header-Content-Length: 1"),
		raw("raw delay and run_at", "delay=1s&run_at=2027-01-01T00:00:00Z", "delay"),
		raw("raw run_at", "run_at=tomorrow", "run_at"),
		raw("raw option twice in the query", "delay=1s&delay=1s", "delay"),
		raw("raw forward of everything with a star inside", "forward=X-*-Y", "forward"),
		raw("raw idempotency_header of credentials", "idempotency_header=Authorization", "idempotency_header"),
		raw("raw idempotency_header with a blank", "idempotency_header=a%20b", "idempotency_header"),
	}
}

const headerKey = "Idempotency-Key"

// callers is about who calls.
func callers(env Env) []refusal {
	as := func(name, value string) refusal {
		return headers(get(name, "/v1/tasks", "unauthenticated", 401), "Authorization: "+value)
	}
	reader := func(name, method, target, body string) refusal {
		return headers(refusal{name, method, target, body, nil, 403, "forbidden", nil}, "Authorization: Bearer "+env.ReaderKey)
	}
	return []refusal{
		as("scheme without a key", "Bearer"),
		as("key without a scheme", env.Key),
		as("another scheme", "Basic "+env.Key),
		as("key with a letter more", "Bearer "+env.Key+"x"),
		as("key with a letter less", "Bearer "+env.Key[:len(env.Key)-1]),
		as("key in capitals", "Bearer "+strings.ToUpper(env.Key)),
		as("two keys in one header", "Bearer "+env.Key+", Bearer "+env.Key),
		as("key of wildcards", "Bearer *"),
		headers(get("two keys", "/v1/tasks", "unauthenticated", 401), "Authorization: Bearer x", "Authorization: Bearer "+env.Key),
		headers(get("key in the query", "/v1/tasks?access_token="+env.Key, "unauthenticated", 401), "Authorization: "),
		headers(get("key in a cookie", "/v1/tasks", "unauthenticated", 401), "Authorization: ", "Cookie: key="+env.Key),
		headers(get("no key for a wrong parameter", "/v1/tasks?limit=x", "unauthenticated", 401), "Authorization: "),
		headers(refusal{"no key for a bulk change", "POST", "/v1/tasks/cancel", `{"all":true}`, nil, 401, "unauthenticated", nil}, "Authorization: "),
		reader("reader submits", "POST", "/v1/tasks", `{"endpoint":"emails"}`),
		reader("reader submits raw", "POST", "/v1/endpoints/emails/tasks", "x"),
		reader("reader cancels", "POST", "/v1/tasks/"+env.Task+"/cancel", ""),
		reader("reader retries", "POST", "/v1/tasks/"+env.Task+"/retry", ""),
		reader("reader cancels all", "POST", "/v1/tasks/cancel", `{"all":true}`),
		reader("reader tries all", "POST", "/v1/tasks/cancel", `{"all":true,"dry_run":true}`),
		reader("reader puts an endpoint", "PUT", "/v1/endpoints/new", `{"url":"https://a.example/"}`),
		reader("reader deletes an endpoint", "DELETE", "/v1/endpoints/emails?force=cancel", ""),
		reader("reader makes a key", "POST", "/v1/keys", `{"name":"x","scopes":["admin"]}`),
		reader("reader looks at endpoints", "GET", "/v1/endpoints", ""),
		headers(get("reader in another project", "/v1/tasks", "forbidden", 403), "Authorization: Bearer "+env.ReaderKey, "Taskgate-Project: other"),
		headers(get("two projects", "/v1/tasks", "invalid_parameter", 400, "Taskgate-Project"), "Taskgate-Project: default", "Taskgate-Project: other"),
	}
}

func reschedules(env Env) []refusal {
	path := "/v1/tasks/" + env.Task + "/reschedule"
	with := func(name, body string, pointers ...string) refusal {
		return posted(name, path, body, 422, "invalid", pointers...)
	}
	return []refusal{
		with("reschedule to nothing", `{}`, "/delay"),
		with("reschedule to two times", `{"delay":"1h","run_at":"2027-01-01T00:00:00Z"}`, "/delay"),
		with("reschedule to null", `{"delay":null}`, "/delay"),
		with("reschedule to a number", `{"delay":5}`, "/delay"),
		with("reschedule to a word", `{"run_at":"tomorrow"}`, "/run_at"),
		with("reschedule too far", `{"delay":"365d1ms"}`, "/delay"),
		with("reschedule with more", `{"delay":"1h","force":true}`, "/force"),
		posted("reschedule by a list", path, "[]", 415, "unsupported_media_type"),
		posted("reschedule what has ended", path, `{"delay":"1h"}`, 409, "conflict"),
		posted("reschedule what is not there", "/v1/tasks/01kad2t5m6f0q9v3zj8y4w7xhc7/reschedule", `{"delay":"1h"}`, 404, "not_found"),
		posted("reschedule no id", "/v1/tasks/nope/reschedule", `{"delay":"1h"}`, 404, "not_found"),
	}
}

func jobs() []refusal {
	return []refusal{
		job("job without a filter", "cancel", `{}`, "/filter"),
		job("job with an empty filter", "retry", `{"filter":{}}`, "/filter"),
		job("job with lists of nothing", "cancel", `{"filter":{"states":[],"labels":{}}}`, "/filter"),
		job("job with all: false", "cancel", `{"all":false}`, "/filter"),
		job("job with all and a filter", "cancel", `{"all":true,"filter":{"endpoint":"emails"}}`, "/all"),
		job("job with all as a text", "cancel", `{"all":"true"}`, "/all", "/filter"),
		job("job with a filter of null", "retry", `{"filter":null}`, "/filter"),
		job("job with a filter of a text", "retry", `{"filter":"endpoint:emails"}`, "/filter"),
		job("job with unknown fields", "cancel", `{"all":true,"dry-run":true,"filter":{"state":"failed"}}`, "/dry-run", "/filter/state"),
		job("job with an unknown state", "cancel", `{"filter":{"states":["queued","done"]}}`, "/filter/states/1"),
		job("job with states as a text", "cancel", `{"filter":{"states":"queued"}}`, "/filter", "/filter/states"),
		job("cancel what has ended", "cancel", `{"filter":{"states":["failed","queued","succeeded"]}}`, "/filter/states/0", "/filter/states/2"),
		job("retry what runs", "retry", `{"filter":{"states":["running","awaiting","queued"]}}`, "/filter/states/0", "/filter/states/1", "/filter/states/2"),
		job("job with ten states", "cancel", `{"filter":{"states":[`+lots(`"queued"`, 10)+`]}}`, "/filter/states"),
		job("job with a label's key", "cancel", `{"filter":{"labels":{"a b":"1"}}}`, "/filter/labels/a b"),
		job("job with a window turned round", "cancel",
			`{"filter":{"created_after":"2026-01-02T00:00:00Z","created_before":"2026-01-01T00:00:00Z"}}`, "/filter/created_before"),
		job("job with a time that is none", "cancel", `{"filter":{"created_after":"yesterday"}}`, "/filter", "/filter/created_after"),
		job("job with a rate of zero", "cancel", `{"all":true,"rate":0}`, "/rate"),
		job("job with a rate below its least", "cancel", `{"all":true,"rate":0.0999}`, "/rate"),
		job("job with a rate over its most", "cancel", `{"all":true,"rate":1000.5}`, "/rate"),
		job("job with a rate beyond floats", "cancel", `{"all":true,"rate":1e999}`, "/rate"),
		job("job with a rate as a text", "cancel", `{"all":true,"rate":"fast"}`, "/rate"),
		job("job with a negative rate", "retry", `{"all":true,"rate":-5}`, "/rate"),
		job("job with dry_run as a number", "retry", `{"all":true,"dry_run":1}`, "/dry_run"),
		posted("job by a list", "/v1/tasks/cancel", `[]`, 415, "unsupported_media_type"),
		posted("job cut off", "/v1/tasks/cancel", `{"all":true`, 400, "malformed"),
		posted("job with a parameter", "/v1/tasks/cancel?all=true", `{"all":true}`, 400, "invalid_parameter", "all"),
		posted("job too large", "/v1/tasks/cancel", `{"filter":{"endpoint":"`+times("x", 66<<10)+`"}}`, 413, "payload_too_large"),
	}
}

// others is about what belongs to another project, seen by us, and what is
// ours, seen by them: it is as if it were not there.
func others(env Env) []refusal {
	var rows []refusal
	theirs := func(name, method, target, body string) {
		rows = append(rows, refusal{"theirs: " + name, method, target, body, nil, 404, "not_found", nil})
	}
	ours := func(name, method, target, body string, status int, code string, pointers ...string) {
		rows = append(rows, refusal{"ours: " + name, method, target, body, []string{"Authorization: Bearer " + env.ForeignKey}, status, code, pointers})
	}
	foreign, mine := "/v1/tasks/"+env.ForeignTask, "/v1/tasks/"+env.Task
	theirs("task", "GET", foreign, "")
	theirs("task, waited for", "GET", foreign+"?wait=30s", "")
	theirs("result", "GET", foreign+"/result", "")
	theirs("attempts", "GET", foreign+"/attempts", "")
	theirs("callbacks", "GET", foreign+"/callbacks", "")
	theirs("cancel", "POST", foreign+"/cancel", "")
	theirs("retry", "POST", foreign+"/retry", "")
	theirs("reschedule", "POST", foreign+"/reschedule", `{"delay":"1h"}`)
	theirs("job", "GET", "/v1/jobs/"+env.ForeignJob, "")
	theirs("job's end", "POST", "/v1/jobs/"+env.ForeignJob+"/cancel", "")
	ours("task", "GET", mine, "", 404, "not_found")
	ours("retry", "POST", mine+"/retry", "", 404, "not_found")
	ours("reschedule", "POST", mine+"/reschedule", `{"delay":"1h"}`, 404, "not_found")
	ours("endpoint", "GET", "/v1/endpoints/emails", "", 404, "not_found")
	ours("endpoint's pause", "POST", "/v1/endpoints/emails/pause", "", 404, "not_found")
	ours("endpoint's end", "DELETE", "/v1/endpoints/emails?force=cancel", "", 404, "not_found")
	ours("endpoint as a target", "POST", "/v1/tasks", `{"endpoint":"emails"}`, 422, "invalid", "/endpoint")
	ours("endpoint as a raw target", "POST", "/v1/endpoints/emails/tasks", "x", 404, "not_found")
	ours("keys", "GET", "/v1/keys", "", 403, "forbidden")
	ours("projects", "GET", "/v1/projects", "", 403, "forbidden")
	return rows
}
