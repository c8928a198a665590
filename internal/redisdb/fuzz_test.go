package redisdb

import (
	"strings"
	"testing"
)

// FuzzParse: a URL is taken, or refused without being quoted: it may hold a
// password.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"redis://:p4ssw0rd-p4ssw0rd@h:6379/0", "rediss://h", "unix:///tmp/x", "redis://a,b", "redis://h/x", "http://h", "redis://h?addr=x", "%", "redis://h:p4ssw0rd-p4ssw0rd",
		"redis://:p4ssw0rd-p4ssw0rd@h?master_name=m&addr=a:1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, err := parse(s)
		if (o == nil) == (err == nil) {
			t.Fatalf("%q: a client: %v, an error: %v", s, o != nil, err)
		}
		if err != nil && len(s) > 12 && strings.Contains(err.Error(), s) {
			t.Fatalf("%q is quoted: %v", s, err)
		}
	})
}

// FuzzJudge: what a server says of itself is judged, whatever it is.
func FuzzJudge(f *testing.F) {
	for _, s := range []string{
		"redis_version:7.0.15\r\naof_enabled:1\r\nmaxmemory_policy:noeviction\r\n", "redis_version:6.2", "", ":::\n", "redis_version:7\ncluster_enabled:1", "redis_version:99999999999999999999",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, info string) {
		warnings, err := judge(info)
		if err != nil && len(warnings) > 0 {
			t.Fatalf("%q: %v and %q", info, err, warnings)
		}
		if err == nil && !strings.Contains(info, "redis_version:") {
			t.Fatalf("%q is a server without a version", info)
		}
	})
}
