package task_test

import (
	"net/netip"
	"testing"

	"github.com/taskgate/taskgate/internal/task"
)

func TestEndpointSet(t *testing.T) {
	for _, c := range []struct {
		set  task.EndpointSet
		name string
		want bool
	}{
		{nil, "a", true},
		{task.EndpointSet{"a"}, "a", true},
		{task.EndpointSet{"a"}, "ab", false},
		{task.EndpointSet{"ab"}, "a", false},
		{task.EndpointSet{"a", "b"}, "b", true},
		{task.EndpointSet{"a*"}, "a", true},
		{task.EndpointSet{"a*"}, "ab", true},
		{task.EndpointSet{"a*"}, "b", false},
		{task.EndpointSet{"a.*"}, "ab", false},
		{task.EndpointSet{"A"}, "a", false},
		{task.EndpointSet{"a*"}, task.CallbackEndpoint, false},
	} {
		if got := c.set.Has(c.name); got != c.want {
			t.Errorf("%v has %s: %v", c.set, c.name, got)
		}
	}
}

func TestEndpointSetCovers(t *testing.T) {
	for _, c := range []struct {
		set, other task.EndpointSet
		want       bool
	}{
		{nil, nil, true},
		{nil, task.EndpointSet{"a"}, true},
		{task.EndpointSet{"a"}, nil, false},
		{task.EndpointSet{"a", "b"}, task.EndpointSet{"b"}, true},
		{task.EndpointSet{"a"}, task.EndpointSet{"a", "b"}, false},
		{task.EndpointSet{"a"}, task.EndpointSet{"a*"}, false},
		{task.EndpointSet{"a*"}, task.EndpointSet{"a"}, true},
		{task.EndpointSet{"a*"}, task.EndpointSet{"a*"}, true},
		{task.EndpointSet{"a*"}, task.EndpointSet{"ab*"}, true},
		{task.EndpointSet{"ab*"}, task.EndpointSet{"a*"}, false},
		{task.EndpointSet{"ab*", "a"}, task.EndpointSet{"a*"}, false},
	} {
		if got := c.set.Covers(c.other); got != c.want {
			t.Errorf("%v covers %v: %v", c.set, c.other, got)
		}
	}
}

func addresses(t *testing.T, texts ...string) (out task.AddressSet) {
	t.Helper()
	for _, text := range texts {
		p, ok := task.ParseAddress(text)
		if !ok {
			t.Fatalf("%s is no address", text)
		}
		out = append(out, p)
	}
	return out
}

func TestAddressSet(t *testing.T) {
	for _, c := range []struct {
		set  []string
		at   string
		want bool
	}{
		{nil, "192.0.2.1", true},
		{[]string{"192.0.2.0/24"}, "192.0.2.255", true},
		{[]string{"192.0.2.77/24"}, "192.0.2.1", true},
		{[]string{"192.0.2.0/24"}, "192.0.3.0", false},
		{[]string{"192.0.2.0/24"}, "::ffff:192.0.2.9", true},
		{[]string{"192.0.2.7"}, "192.0.2.7", true},
		{[]string{"192.0.2.7"}, "192.0.2.8", false},
		{[]string{"2001:db8::/32"}, "2001:db8:1::7", true},
		{[]string{"fe80::/10"}, "fe80::1%eth0", true},
		{[]string{"0.0.0.0/0"}, "::1", false},
		{[]string{"10.0.0.0/8", "::1"}, "::1", true},
	} {
		if got := addresses(t, c.set...).Has(netip.MustParseAddr(c.at)); got != c.want {
			t.Errorf("%v has %s: %v", c.set, c.at, got)
		}
	}
	if addresses(t, "0.0.0.0/0", "::/0").Has(netip.Addr{}) {
		t.Error("an unknown address is let in")
	}
	for _, bad := range []string{"", "x", "192.0.2.0/33", "192.0.2", "::1%eth0", "::ffff:192.0.2.0/120", "::ffff:192.0.2.1", "192.0.2.1/24/8"} {
		if p, ok := task.ParseAddress(bad); ok {
			t.Errorf("%q is %v", bad, p)
		}
	}
}

func TestAddressSetCovers(t *testing.T) {
	for _, c := range []struct {
		set, other []string
		want       bool
	}{
		{nil, nil, true},
		{nil, []string{"192.0.2.0/24"}, true},
		{[]string{"192.0.2.0/24"}, nil, false},
		{[]string{"192.0.2.0/24"}, []string{"192.0.2.128/25", "192.0.2.1"}, true},
		{[]string{"192.0.2.0/24"}, []string{"192.0.2.0/23"}, false},
		{[]string{"192.0.2.0/24"}, []string{"192.0.2.1", "198.51.100.1"}, false},
		{[]string{"0.0.0.0/0"}, []string{"::/0"}, false},
	} {
		if got := addresses(t, c.set...).Covers(addresses(t, c.other...)); got != c.want {
			t.Errorf("%v covers %v: %v", c.set, c.other, got)
		}
	}
}
