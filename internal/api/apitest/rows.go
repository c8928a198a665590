package apitest

import (
	"slices"
	"strings"
)

func submit(name, body string, status int, code string, pointers ...string) refusal {
	return refusal{name, "POST", "/v1/tasks", body, nil, status, code, pointers}
}

func invalid(name, rest string, pointers ...string) refusal {
	return submit(name, `{"endpoint":"emails",`+rest+`}`, 422, "invalid", pointers...)
}

func put(name, rest string, pointers ...string) refusal {
	return refusal{name, "PUT", "/v1/endpoints/new", `{"url":"https://a.example/",` + rest + `}`, nil, 422, "invalid", pointers}
}

func posted(name, target, body string, status int, code string, pointers ...string) refusal {
	return refusal{name, "POST", target, body, nil, status, code, pointers}
}

// patch is refused for the endpoint "emails".
func patch(name, body string, pointers ...string) refusal {
	return refusal{name, "PATCH", "/v1/endpoints/emails", body, []string{mergePatch}, 422, "invalid", pointers}
}

const mergePatch = "Content-Type: application/merge-patch+json"

func key(name, body string, pointers ...string) refusal {
	return refusal{name, "POST", "/v1/keys", body, nil, 422, "invalid", pointers}
}

func raw(name, query string, pointers ...string) refusal {
	return refusal{name, "POST", "/v1/endpoints/emails/tasks?" + query, "x", nil, 400, "invalid_parameter", pointers}
}

func head(name, target string, status int, code string, pointers ...string) refusal {
	return refusal{name, "GET", target, "", nil, status, code, pointers}
}

func headers(r refusal, hs ...string) refusal {
	r.headers = hs
	return r
}

// good is a submission that would be taken.
const good = `{"endpoint":"emails"}`

// refusals are the rows of ordinary mistakes.
func refusals() []refusal {
	return slices.Concat(bodies(), fields(), parameters(), endpoints(), keysAndProjects(), callbacks(), rawSubmissions(), absent(), keyless())
}

// bodies are no JSON, or too much of it.
func bodies() []refusal {
	long := times("x", 5000)
	huge := `{"endpoint":"emails","payload":"` + times("x", 80<<10) + `"}`
	return []refusal{
		submit("no body", "", 415, "unsupported_media_type"),
		headers(submit("empty body", " ", 400, "malformed"), "Content-Type: application/json"),
		submit("cut off", `{"endpoint":`, 400, "malformed"),
		submit("trailing comma", `{"endpoint":"emails",}`, 400, "malformed"),
		submit("two values", `{} {}`, 400, "malformed"),
		submit("comment", `{/**/}`, 400, "malformed"),
		submit("not UTF-8", "{\"endpoint\":\"emails\",\"payload\":\"\xff\"}", 400, "malformed"),
		submit("nested too deep", `{"endpoint":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`}`, 400, "malformed"),
		submit("payload nested beyond reading", `{"payload":`+strings.Repeat("[", 10001)+strings.Repeat("]", 10001)+`}`, 400, "malformed"),
		headers(submit("array", `["emails"]`, 422, "invalid", ""), "Content-Type: application/json"),
		headers(submit("null", `null`, 422, "invalid", ""), "Content-Type: application/json"),
		headers(submit("other media type", good, 415, "unsupported_media_type"), "Content-Type: text/plain"),
		headers(submit("other charset", good, 415, "unsupported_media_type"), "Content-Type: application/json; charset=latin1"),
		submit("payload too large", `{"endpoint":"emails","payload":"`+long+`"}`, 413, "payload_too_large"),
		submit("body too large", huge, 413, "payload_too_large"),
		submit("too large beside the payload", `{"endpoint":"`+strings.Repeat("x", 66<<10)+`"}`, 413, "payload_too_large"),
	}
}

// fields are members of a submission.
func fields() []refusal {
	return []refusal{
		submit("no endpoint", `{}`, 422, "invalid", "/endpoint"),
		submit("unknown endpoint", `{"endpoint":"nope"}`, 422, "invalid", "/endpoint"),
		submit("null endpoint", `{"endpoint":null}`, 422, "invalid", "/endpoint"),
		submit("endpoint twice", `{"endpoint":"emails","endpoint":"emails"}`, 422, "invalid", "/endpoint"),
		submit("payload twice", `{"endpoint":"emails","payload":1,"payload":2}`, 422, "invalid", "/payload"),
		submit("other letter case", `{"Endpoint":"emails"}`, 422, "invalid", "/Endpoint", "/endpoint"),
		invalid("unknown fields", `"dealy":"5m","a/b~c":1`, "/a~1b~0c", "/dealy"),
		invalid("unknown field within", `"retry":{"attempts":3}`, "/retry/attempts"),
		invalid("key twice within", `"labels":{"a":"1","a":"2"}`, "/labels/a"),
		invalid("delay is a number", `"delay":5`, "/delay"),
		invalid("delay without unit", `"delay":"5"`, "/delay"),
		invalid("negative delay", `"delay":"-5s"`, "/delay"),
		invalid("delay too long", `"delay":"366d"`, "/delay"),
		invalid("delay and run_at", `"delay":"5s","run_at":"2027-01-01T00:00:00Z"`, "/delay"),
		invalid("run_at is no time", `"run_at":"tomorrow"`, "/run_at"),
		invalid("run_at on no day", `"run_at":"2027-02-30T00:00:00Z"`, "/run_at"),
		invalid("run_at too far", `"run_at":"2099-01-01T00:00:00Z"`, "/run_at"),
		invalid("expires before it runs", `"delay":"2h","expires_in":"1h"`, "/expires_in"),
		invalid("expired", `"expires_at":"2020-01-01T00:00:00Z"`, "/expires_at"),
		invalid("expires twice", `"expires_at":"2027-01-01T00:00:00Z","expires_in":"1h"`, "/expires_in"),
		invalid("timeout over the endpoint's", `"timeout":"31s"`, "/timeout"),
		invalid("timeout too short", `"timeout":"1ms"`, "/timeout"),
		invalid("result_ttl too long", `"result_ttl":"31d"`, "/result_ttl"),
		invalid("max_attempts zero", `"retry":{"max_attempts":0}`, "/retry/max_attempts"),
		invalid("max_attempts is no whole number", `"retry":{"max_attempts":1.5}`, "/retry/max_attempts"),
		invalid("number beyond floats", `"retry":{"multiplier":1e999}`, "/retry/multiplier"),
		invalid("backoffs crossed", `"retry":{"min_backoff":"2h","max_backoff":"1h"}`, "/retry/min_backoff"),
		invalid("schedule", `"retry":{"schedule":["1s","x","31d"]}`, "/retry/schedule/1", "/retry/schedule/2"),
		invalid("status expressions", `"retry":{"retry_on":["409","600"],"fail_on":["5xx"]}`, "/retry/fail_on/0", "/retry/retry_on/1"),
		invalid("labels are an array", `"labels":["a"]`, "/labels"),
		invalid("too many labels", `"labels":{`+strings.TrimSuffix(labelList(17), ",")+`}`, "/labels"),
		invalid("label key", `"labels":{"a b":"1"}`, "/labels/a b"),
		invalid("label value", `"labels":{"a":"x\u0000"}`, "/labels/a"),
		invalid("label is a number", `"labels":{"a":1}`, "/labels/a"),
		invalid("hop-by-hop header", `"headers":{"Connection":"close","transfer-encoding":"chunked"}`, "/headers/Connection", "/headers/transfer-encoding"),
		invalid("our headers", `"headers":{"Webhook-Id":"1","Taskgate-Attempt":"1","Host":"x","Content-Length":"1"}`,
			"/headers/Content-Length", "/headers/Host", "/headers/Taskgate-Attempt", "/headers/Webhook-Id"),
		invalid("header injection", `"headers":{"X-A":"a\r\nX-B: b","X B":"1"}`, "/headers/X B", "/headers/X-A"),
		invalid("header twice", `"headers":{"X-A":"1","x-a":"2"}`, "/headers"),
		invalid("headers too large", `"headers":{"X-A":"`+strings.Repeat("x", 8000)+`","X-B":"`+strings.Repeat("x", 8000)+`","X-C":"`+strings.Repeat("x", 8000)+`"}`, "/headers"),
		{
			"everything at once", "POST", "/v1/tasks?wait=long", `{"endpoint":"nope","delay":"x","retry":{"jitter":2},"color":"red"}`,
			[]string{`Idempotency-Key: "`},
			422, "invalid",
			[]string{"/color", "/delay", "/endpoint", "/retry/jitter", "Idempotency-Key", "wait"},
		},
	}
}

// parameters are of a query, and headers.
func parameters() []refusal {
	return []refusal{
		{"wait", "POST", "/v1/tasks?wait=30", good, nil, 400, "invalid_parameter", []string{"wait"}},
		{"wait twice", "POST", "/v1/tasks?wait=30s&wait=1s", good, nil, 400, "invalid_parameter", []string{"wait"}},
		{"unknown parameter", "POST", "/v1/tasks?wiat=30s", good, nil, 400, "invalid_parameter", []string{"wiat"}},
		{"badly encoded query", "POST", "/v1/tasks?wait=%zz", good, nil, 400, "invalid_parameter", nil},
		headers(submit("idempotency key empty", good, 400, "invalid_parameter", "Idempotency-Key"), `Idempotency-Key: ""`),
		headers(submit("idempotency key unclosed", good, 400, "invalid_parameter", "Idempotency-Key"), `Idempotency-Key: "a`),
		headers(submit("idempotency key not ASCII", good, 400, "invalid_parameter", "Idempotency-Key"), "Idempotency-Key: ä"),
		headers(submit("idempotency key too long", good, 400, "invalid_parameter", "Idempotency-Key"), "Idempotency-Key: "+strings.Repeat("k", 256)),
		headers(submit("idempotency key twice", good, 400, "invalid_parameter", "Idempotency-Key"), "Idempotency-Key: a", "Idempotency-Key: b"),
		head("state", "/v1/tasks?state=done", 400, "invalid_parameter", "state"),
		head("one state of several", "/v1/tasks?state=failed,done", 400, "invalid_parameter", "state"),
		head("limit zero", "/v1/tasks?limit=0", 400, "invalid_parameter", "limit"),
		head("limit too large", "/v1/tasks?limit=501", 400, "invalid_parameter", "limit"),
		head("limit is a word", "/v1/tasks?limit=all", 400, "invalid_parameter", "limit"),
		head("label without value", "/v1/tasks?label=a", 400, "invalid_parameter", "label"),
		head("created_after", "/v1/tasks?created_after=yesterday", 400, "invalid_parameter", "created_after"),
		head("window turned round", "/v1/tasks?created_after=2026-01-02T00:00:00Z&created_before=2026-01-01T00:00:00Z", 400, "invalid_parameter", "created_before"),
		head("several parameters", "/v1/tasks?limit=0&state=x&foo=1", 400, "invalid_parameter", "foo", "limit", "state"),
		head("cursor", "/v1/tasks?cursor=bogus", 400, "invalid_parameter", "cursor"),
		head("cursor of endpoints", "/v1/endpoints?cursor=bogus", 400, "invalid_parameter", "cursor"),
		head("endpoint's name", "/v1/endpoints/a%20b", 400, "invalid_parameter", "name"),
		head("endpoint's name with a slash", "/v1/endpoints/a%2Fb", 400, "invalid_parameter", "name"),
		{"force", "DELETE", "/v1/endpoints/emails?force=yes", "", nil, 400, "invalid_parameter", []string{"force"}},
	}
}

// endpoints are configurations.
func endpoints() []refusal {
	return []refusal{
		{"no url", "PUT", "/v1/endpoints/new", `{}`, nil, 422, "invalid", []string{"/url"}},
		{"url", "PUT", "/v1/endpoints/new", `{"url":"ftp://a"}`, nil, 422, "invalid", []string{"/url"}},
		put("method", `"method":"GET"`, "/method"),
		put("endpoint timeout", `"timeout":"26m"`, "/timeout"),
		put("secret", `"secret":"hush"`, "/secret"),
		put("result", `"result":{"max_bytes":2000000,"oversize":"keep","keep_headers":["a b"]}`,
			"/result/keep_headers/0", "/result/max_bytes", "/result/oversize"),
		put("credentials", `"headers":{"Authorization":"x","cookie":"y"}`, "/headers/Authorization", "/headers/cookie"),
		put("payload is no field here", `"payload":1`, "/payload"),
		put("max_concurrency of none", `"max_concurrency":0`, "/max_concurrency"),
		put("max_concurrency of too many", `"max_concurrency":10001`, "/max_concurrency"),
		put("max_concurrency of a half", `"max_concurrency":1.5`, "/max_concurrency"),
		put("circuit breaker", `"circuit_breaker":{"enabled":1,"failure_ratio":1.1,"min_attempts":0,"window":5,"trips":1}`,
			"/circuit_breaker/enabled", "/circuit_breaker/failure_ratio", "/circuit_breaker/min_attempts", "/circuit_breaker/trips", "/circuit_breaker/window"),
		put("times of the circuit breaker", `"circuit_breaker":{"window":"2h","cool_down":"0s"}`, "/circuit_breaker/cool_down", "/circuit_breaker/window"),
		put("paused", `"paused":"yes"`, "/paused"),
		{"endpoint config too large", "PUT", "/v1/endpoints/new", `{"url":"` + strings.Repeat("x", 66<<10) + `"}`, nil, 413, "payload_too_large", nil},
	}
}

// keysAndProjects are what an admin makes.
func keysAndProjects() []refusal {
	return []refusal{
		key("key without anything", `{}`, "/name", "/scopes"),
		key("key without scopes", `{"name":"x","scopes":[]}`, "/scopes"),
		key("unknown scopes", `{"name":"x","scopes":["tasks:read","tasks:delete","*",""]}`, "/scopes/1", "/scopes/2", "/scopes/3"),
		key("scope twice", `{"name":"x","scopes":["tasks:read","tasks:read"]}`, "/scopes/1"),
		key("too many scopes", `{"name":"x","scopes":[`+strings.Repeat(`"admin",`, 8)+`"admin"]}`,
			"/scopes", "/scopes/1", "/scopes/2", "/scopes/3", "/scopes/4", "/scopes/5", "/scopes/6", "/scopes/7", "/scopes/8"),
		key("key's name", `{"name":"a\u0007","scopes":["admin"]}`, "/name"),
		key("key's name too long", `{"name":"`+strings.Repeat("x", 101)+`","scopes":["admin"]}`, "/name"),
		key("key that has expired", `{"name":"x","scopes":["admin"],"expires_at":"2020-01-01T00:00:00Z"}`, "/expires_at"),
		key("key that expires at once", `{"name":"x","scopes":["admin"],"expires_in":"0s"}`, "/expires_in"),
		key("key that expires in too long", `{"name":"x","scopes":["admin"],"expires_in":"3651d"}`, "/expires_in"),
		key("key that expires twice", `{"name":"x","scopes":["admin"],"expires_in":"1d","expires_at":"2030-01-01T00:00:00Z"}`, "/expires_in"),
		key("key of no project", `{"name":"x","scopes":["admin"],"project":"nope"}`, "/project"),
		key("key of no address", `{"name":"x","scopes":["admin"],"addresses":["192.0.2.0/33","a.example","::ffff:192.0.2.0/120","192.0.2.7"]}`,
			"/addresses/0", "/addresses/1", "/addresses/2"),
		key("key without addresses", `{"name":"x","scopes":["admin"],"addresses":[]}`, "/addresses"),
		key("key without endpoints", `{"name":"x","scopes":["tasks:read"],"endpoints":[]}`, "/endpoints"),
		key("key of names that no endpoint has", `{"name":"x","scopes":["tasks:read"],"endpoints":["*","a*b","$callbacks","","a*"]}`,
			"/endpoints/0", "/endpoints/1", "/endpoints/2", "/endpoints/3"),
		key("admin's key of an endpoint", `{"name":"x","scopes":["admin"],"endpoints":["a"]}`, "/endpoints"),
		key("key with a secret of its own", `{"name":"x","scopes":["admin"],"key":"tg_x"}`, "/key"),
		key("key's rate", `{"name":"x","scopes":["admin"],"rate":{"per_second":0,"burst":0,"per_minute":1}}`,
			"/rate/burst", "/rate/per_minute", "/rate/per_second"),
		key("key's rate too high", `{"name":"x","scopes":["admin"],"rate":{"per_second":1e6,"burst":100001}}`, "/rate/burst", "/rate/per_second"),
		key("key's rate that is a number", `{"name":"x","scopes":["admin"],"rate":20}`, "/rate"),
		key("key's rate of nothing", `{"name":"x","scopes":["admin"],"rate":{}}`, "/rate/per_second"),
		{
			"project's quotas", "PUT", "/v1/projects/acme", `{"quotas":{"rate":{"per_second":"x"},"waiting_tasks":0,"payload_bytes":1,"tasks":1}}`,
			nil, 422, "invalid",
			[]string{"/quotas/payload_bytes", "/quotas/rate/per_second", "/quotas/tasks", "/quotas/waiting_tasks"},
		},
		head("no such key", "/v1/keys/tg_nope", 404, "not_found"),
		head("key's id too long", "/v1/keys/"+strings.Repeat("x", 65), 400, "invalid_parameter", "id"),
		{"project's name", "PUT", "/v1/projects/Acme", `{}`, nil, 400, "invalid_parameter", []string{"project"}},
		{"built-in endpoint", "PUT", "/v1/endpoints/$callbacks", `{"url":"https://a.example/"}`, nil, 400, "invalid_parameter", []string{"name"}},
		submit("task for a built-in endpoint", `{"endpoint":"$callbacks"}`, 422, "invalid", "/endpoint"),
		{"project's secret", "PUT", "/v1/projects/acme", `{"secret":"x","name":"y"}`, nil, 422, "invalid", []string{"/name", "/secret"}},
		headers(submit("unknown project", `{"endpoint":"emails"}`, 400, "invalid_parameter", "Taskgate-Project"), "Taskgate-Project: no/pe"),
	}
}

// callbacks are asked for with a submission.
func callbacks() []refusal {
	return []refusal{
		invalid("callback without a target", `"callback":{"on":["failed"]}`, "/callback"),
		invalid("callback with two targets", `"callback":{"url":"https://a.example/","endpoint":"emails"}`, "/callback/endpoint"),
		invalid("callback to a bad URL", `"callback":{"url":"ftp://a"}`, "/callback/url"),
		invalid("callback to an unknown endpoint", `"callback":{"endpoint":"nope"}`, "/callback/endpoint"),
		invalid("callback to the built-in endpoint", `"callback":{"endpoint":"$callbacks"}`, "/callback/endpoint"),
		invalid("callback on states that do not end", `"callback":{"url":"https://a.example/","on":["running","failed"]}`, "/callback/on/0"),
		invalid("callback on nothing", `"callback":{"url":"https://a.example/","on":[]}`, "/callback/on"),
		invalid("callback on a state twice", `"callback":{"url":"https://a.example/","on":["failed","failed"]}`, "/callback/on"),
		invalid("callback's faults at once", `"delay":"x","callback":{"url":"","headers":{"Host":"a"},"retry":{}}`,
			"/callback/headers/Host", "/callback/retry", "/callback/url", "/delay"),
		invalid("callback is no URL", `"callback":"https://a.example/"`, "/callback"),
		posted("raw task for the built-in endpoint", "/v1/endpoints/$callbacks/tasks", "x", 400, "invalid_parameter", "name"),
		raw("raw callback to a bad URL", "callback_url=ftp://a", "callback_url"),
		raw("raw callback to an unknown endpoint", "callback_endpoint=nope", "callback_endpoint"),
		raw("raw callback with two targets", "callback_url=https://a.example/&callback_endpoint=emails", "callback_endpoint"),
		raw("raw callback without a target", "callback_on=failed", "callback_url"),
		raw("raw callback on states that do not end", "callback_url=https://a.example/&callback_on=failed,done", "callback_on"),
		headers(raw("raw callback's header", "callback_url=https://a.example/", "Taskgate-Callback-Header-Host"), "Taskgate-Callback-Header-Host: evil"),
		headers(raw("raw callback twice", "callback_url=https://a.example/", "Taskgate-Callback-Url"), "Taskgate-Callback-Url: https://b.example/"),
		head("unknown task's callbacks", "/v1/tasks/01kad2t5m6f0q9v3zj8y4w7xhc7/callbacks", 404, "not_found"),
	}
}

// rawSubmissions have everything in their parameters.
func rawSubmissions() []refusal {
	long := times("x", 5000)
	return []refusal{
		{"raw to an unknown endpoint", "POST", "/v1/endpoints/nope/tasks", "x", nil, 404, "not_found", nil},
		{"raw too large", "POST", "/v1/endpoints/emails/tasks", long, nil, 413, "payload_too_large", nil},
		raw("raw delay", "delay=5", "delay"),
		raw("raw faults at once", "delay=x&timeout=x&max_attempts=0&max_age=0s&label=a&forward=a+b&tpyo=1",
			"delay", "forward", "label", "max_age", "max_attempts", "timeout", "tpyo"),
		raw("raw max_attempts", "max_attempts=many", "max_attempts"),
		raw("raw forwards our key", "forward=Authorization", "forward"),
		raw("raw idempotency_header missing", "idempotency_header=X-Delivery", "idempotency_header"),
		headers(raw("raw option twice", "delay=5s", "Taskgate-Delay"), "Taskgate-Delay: 6s"),
		headers(raw("raw unknown option", "", "Taskgate-Dealy"), "Taskgate-Dealy: 6s"),
		headers(raw("raw reserved header", "", "Taskgate-Header-Host"), "Taskgate-Header-Host: evil"),
		headers(raw("raw label header", "", "Taskgate-Label-A"), "Taskgate-Label-A: 1", "Taskgate-Label-A: 2"),
		headers(raw("raw media type", "", "Content-Type"), "Content-Type: nonsense"),
	}
}

// absent are things that are not there.
func absent() []refusal {
	return []refusal{
		head("unknown path", "/v2/tasks", 404, "not_found"),
		head("root", "/", 404, "not_found"),
		head("unknown task", "/v1/tasks/01kad2t5m6f0q9v3zj8y4w7xhc7", 404, "not_found"),
		head("no task id", "/v1/tasks/nope", 404, "not_found"),
		head("no task id, encoded", "/v1/tasks/%2e%2e%2f", 404, "not_found"),
		head("unknown task's result", "/v1/tasks/01kad2t5m6f0q9v3zj8y4w7xhc7/result?wait=30s", 404, "not_found"),
		head("unknown endpoint by path", "/v1/endpoints/nope", 404, "not_found"),
		{"pause an unknown endpoint", "POST", "/v1/endpoints/nope/pause", "", nil, 404, "not_found", nil},
		{"delete an unknown endpoint", "DELETE", "/v1/endpoints/nope?force=cancel", "", nil, 404, "not_found", nil},
		{"cancel an unknown task", "POST", "/v1/tasks/01kad2t5m6f0q9v3zj8y4w7xhc7/cancel", "", nil, 404, "not_found", nil},
		{"method that the path has not", "PATCH", "/v1/tasks", "", nil, 405, "method_not_allowed", nil},
		headers(head("media types that nobody makes", "/v1/tasks", 406, "not_acceptable"), "Accept: text/html, application/json;q=0"),
	}
}

// keyless are requests of nobody.
func keyless() []refusal {
	return []refusal{
		headers(head("no key", "/v1/tasks", 401, "unauthenticated"), "Authorization: "),
		headers(head("wrong key", "/v1/tasks", 401, "unauthenticated"), "Authorization: Bearer nope"),
		headers(submit("no key before a bad body", `{`, 401, "unauthenticated"), "Authorization: "),
	}
}

// labelList are n labels with keys of growing length, and a comma.
func labelList(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`"k` + strings.Repeat("x", i) + `":"v",`)
	}
	return b.String()
}
