package apitest

import (
	"fmt"
	"strings"
)

// hostile are bytes that no client library would send.
func hostile(env Env) []wired {
	h := wires{env}
	rows := append(h.framing(), h.heads()...)
	return append(rows, h.endless()...)
}

type wires struct{ env Env }

// head is a request for submitTask with further header lines.
func (w wires) head(lines ...string) string {
	return "POST /v1/tasks HTTP/1.1\r\nHost: taskgate.test\r\nAuthorization: Bearer " + w.env.Key +
		"\r\nContent-Type: application/json\r\n" + strings.Join(append(lines, "\r\n"), "\r\n")
}

func wire(name, text string, status int, code string, pointers ...string) wired {
	return wired{refusal: refusal{name: name, status: status, code: code, pointers: pointers}, wire: text}
}

// framing is about where a body ends.
func (w wires) framing() []wired {
	const body = `{"endpoint":"emails"}`
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d", n) }
	half := func(name, text string, status int, code string, pointers ...string) wired {
		r := wire(name, text, status, code, pointers...)
		r.half = true
		return r
	}
	return []wired{
		half("sender who says no more", w.head(length(2))+"{}", 422, "invalid", "/endpoint"),
		half("body shorter than its length", w.head(length(100))+body, 400, "malformed"),
		wire("body longer than its length", w.head(length(5))+body, 400, "malformed"),
		wire("length of minus one", w.head(length(-1))+body, 400, ""),
		wire("length in words", w.head("Content-Length: many")+body, 400, ""),
		wire("length beyond 64 bits", w.head("Content-Length: 99999999999999999999")+body, 400, ""),
		wire("two lengths", w.head(length(5), length(21))+body, 400, ""),
		wire("length of a terabyte", w.head(length(1<<40))+body, 413, "payload_too_large"),
		wire("no length, no chunks", w.head()+body, 400, "malformed"),
		wire("chunk without a size", w.head("Transfer-Encoding: chunked")+"zz\r\n"+body+"\r\n0\r\n\r\n", 400, "malformed"),
		half("chunk shorter than its size", w.head("Transfer-Encoding: chunked")+"ff\r\n"+body, 400, "malformed"),
		wire("chunk size beyond 64 bits", w.head("Transfer-Encoding: chunked")+strings.Repeat("f", 17)+"\r\n"+body, 400, "malformed"),
		half("no last chunk", w.head("Transfer-Encoding: chunked")+"15\r\n"+body+"\r\n", 400, "malformed"),
		wire("chunk with a long extension", w.head("Transfer-Encoding: chunked")+"15;"+strings.Repeat("x", 8<<10)+"\r\n"+body+"\r\n0\r\n\r\n", 400, "malformed"),
		wire("chunks of another coding", w.head("Transfer-Encoding: gzip, chunked")+body, 501, ""),
		wire("coding that is none", w.head("Transfer-Encoding: identity")+body, 501, ""),
		wire("two framings", w.head(length(5), "Transfer-Encoding: chunked", "Connection: close")+"0\r\n\r\n"+w.head(length(21))+body, 400, "malformed"),
	}
}

// heads are about the head of a request.
func (w wires) heads() []wired {
	get := func(lines ...string) string {
		return "GET /v1/tasks HTTP/1.1\r\nAuthorization: Bearer " + w.env.Key + "\r\n" + strings.Join(append(lines, "\r\n"), "\r\n")
	}
	line := func(text string) string {
		return text + "\r\nHost: taskgate.test\r\nAuthorization: Bearer " + w.env.Key + "\r\n\r\n"
	}
	return []wired{
		wire("no host", get(), 400, ""),
		wire("two hosts", get("Host: a", "Host: b"), 400, ""),
		wire("host with a blank", get("Host: a b"), 400, ""),
		wire("header without a colon", get("Host: a", "X-A"), 400, ""),
		wire("header with a blank in its name", get("Host: a", "X A: b"), 400, ""),
		wire("header with a blank after its name", get("Host: a", "X-A : b"), 400, ""),
		wire("header with a null", get("Host: a", "X-A: b\x00c"), 400, ""),
		wire("header with a bare CR", get("Host: a", "X-A: b\rX-B: c"), 400, ""),
		wire("key behind a bare CR", "GET /v1/tasks HTTP/1.1\r\nHost: a\r\nX-A: b\rAuthorization: Bearer "+w.env.Key+"\r\n\r\n", 400, ""),
		wire("headers of 80 KiB", get("Host: a", "X-A: "+strings.Repeat("x", 80<<10)), 431, ""),
		wire("20,000 headers", get("Host: a", strings.TrimSuffix(strings.Repeat("X-A: b\r\n", 20_000), "\r\n")), 431, ""),
		wire("path of 100 KiB", line("GET /v1/tasks/"+strings.Repeat("x", 100<<10)+" HTTP/1.1"), 431, ""),
		wire("path of 50 KiB", line("GET /v1/tasks/"+strings.Repeat("x", 50<<10)+" HTTP/1.1"), 400, "invalid_parameter", "id"),
		wire("key of 50 KiB", "GET /v1/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "+strings.Repeat("x", 50<<10)+"\r\n\r\n", 401, "unauthenticated"),
		wire("HTTP of the future", line("GET /v1/tasks HTTP/9.0"), 505, ""),
		wire("HTTP of the past", "GET /v1/tasks\r\n\r\n", 400, ""),
		wire("not HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, ""),
		wire("no method", line(" /v1/tasks HTTP/1.1"), 400, ""),
		wire("method with a blank", line("GE T /v1/tasks HTTP/1.1"), 400, ""),
		wire("target without a slash", line("GET v1/tasks HTTP/1.1"), 400, ""),
		wire("badly encoded path", line("GET /v1/tasks/%zz HTTP/1.1"), 400, ""),
		wire("path with a control character", line("GET /v1/tasks/\x01 HTTP/1.1"), 400, ""),
		wire("connect", line("CONNECT example.com:443 HTTP/1.1"), 404, "not_found"),
		wire("an expectation that nobody meets", get("Host: a", "Expect: the unexpected"), 417, ""),
	}
}

// endless are requests that do not end.
func (w wires) endless() []wired {
	chunk := "1000\r\n" + strings.Repeat(" ", 0x1000) + "\r\n"
	slow := func(name, text string) wired {
		r := wire(name, text, 408, "request_timeout")
		r.slow = true
		return r
	}
	endless := func(name, text, more string, status int, code string) wired {
		r := wire(name, text, status, code)
		r.endless = more
		return r
	}
	rawHead := strings.Replace(w.head("Transfer-Encoding: chunked"), "/v1/tasks", "/v1/endpoints/emails/tasks", 1)
	return []wired{
		endless("chunks without end", w.head("Transfer-Encoding: chunked"), chunk, 413, "payload_too_large"),
		endless("chunks of one byte without end", w.head("Transfer-Encoding: chunked"), strings.Repeat("1\r\n \r\n", 512), 413, "payload_too_large"),
		endless("raw chunks without end", rawHead, chunk, 413, "payload_too_large"),
		endless("gigabytes with a length", w.head("Content-Length: 8589934592"), strings.Repeat("x", 64<<10), 413, "payload_too_large"),
		endless("body without end that nobody asked for", "POST /v1/tasks/"+w.env.ForeignTask+"/cancel HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "+
			w.env.Key+"\r\nTransfer-Encoding: chunked\r\n\r\n", chunk, 404, "not_found"),
		endless("body without end and without a key", strings.Replace(w.head("Transfer-Encoding: chunked"), "Bearer", "Bear", 1), chunk, 401, "unauthenticated"),
		endless("headers without end", "GET /v1/tasks HTTP/1.1\r\n", "X-A: b\r\n", 431, ""),
		slow("body that stops", w.head("Content-Length: 100")+`{"endpoint":`),
		slow("chunks that stop", w.head("Transfer-Encoding: chunked")+"15\r\n{"),
		slow("a continue that nobody sends", w.head("Content-Length: 21", "Expect: 100-continue")),
	}
}
