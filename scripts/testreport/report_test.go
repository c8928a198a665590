package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()

	const ok = `{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p","Elapsed":0.1}
`
	tests := map[string]struct {
		stream   string
		required bool
		fault    string // part of the error; "" means none
		shown    string // part of the output
	}{
		"pass": {
			stream: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
` + ok,
			shown: "ok  \tp\t0.1s\n1 packages, 1 tests passed, 0 failed, 0 skipped",
		},
		"failed test": {
			stream: `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: it broke\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`,
			fault: "failed: p TestA",
			shown: "it broke",
		},
		"died in a test": {
			stream: `{"Action":"output","Package":"p","Test":"TestA","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"p"}
`,
			fault: "failed: p",
			shown: "panic: test timed out",
		},
		"build failed": {
			stream: `{"ImportPath":"p","Action":"build-output","Output":"p.go:1: syntax error\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"fail","Package":"p"}
`,
			fault: "build failed: p",
			shown: "syntax error",
		},
		"services skipped, by name": {
			stream:   `{"Action":"skip","Package":"p","Test":"TestServices/get"}` + "\n" + ok,
			required: true,
			fault:    "skipped although services are required: p TestServices/get",
		},
		"services skipped, by reason": {
			stream: `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: TASKGATE_TEST_REDIS_URL is not set\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
` + ok,
			required: true,
			fault:    "services are required",
		},
		"services skipped, not required": {
			stream: `{"Action":"skip","Package":"p","Test":"TestServices"}` + "\n" + ok,
			shown:  "1 skipped",
		},
		"something else skipped": {
			stream:   `{"Action":"skip","Package":"p","Test":"TestSlow"}` + "\n" + ok,
			required: true,
			shown:    "1 skipped",
		},
		"nothing ran":     {stream: "go: no such module\n", fault: "no package was tested", shown: "go: no such module"},
		"line over limit": {stream: strings.Repeat("x", maxLine+1), fault: "read the stream"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			var out strings.Builder
			err := newReport(&out, test.required).read(strings.NewReader(test.stream))
			if (err != nil) != (test.fault != "") || err != nil && !strings.Contains(err.Error(), test.fault) {
				t.Errorf("error %v, want %q", err, test.fault)
			}
			if !strings.Contains(out.String(), test.shown) {
				t.Errorf("output %q has no %q", out.String(), test.shown)
			}
		})
	}
}
