package e2e_test

import (
	"net/url"
	"slices"
	"testing"
)

func TestListFilters(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		ep, _ := tg.register(t, serve(t, status(200)).URL, nil)
		var all []obj
		for _, labels := range []obj{{"tier": "gold", "n": "a:b"}, {"tier": "gold"}, {"tier": "tin", "n": "a:b"}} {
			all = append(all, tg.submit(t, ep, obj{"delay": "1h", "labels": labels}))
			until(t, "the clock has moved", func() bool {
				probe := tg.submit(t, ep, obj{"delay": "1h", "labels": obj{"probe": "1"}})
				return probe.str("created_at") != all[len(all)-1].str("created_at")
			})
		}
		ids := func(n ...int) (out []string) {
			for _, i := range n {
				out = append(out, all[i].str("id"))
			}
			return out
		}
		at := func(n int) string { return all[n].str("created_at") }
		for _, c := range []struct {
			name  string
			query url.Values
			want  []string
		}{
			{"a label", url.Values{"label": {"tier:gold"}}, ids(1, 0)},
			{"two labels", url.Values{"label": {"tier:gold", "n:a:b"}}, ids(0)},
			{"from the second on", url.Values{"label": {"tier:gold"}, "created_after": {at(1)}}, ids(1)},
			{"before the second", url.Values{"label": {"tier:gold"}, "created_before": {at(1)}}, ids(0)},
			{"from the first, before the third", url.Values{"label": {"n:a:b"}, "created_after": {at(0)}, "created_before": {at(2)}}, ids(0)},
			{"in a state", url.Values{"label": {"tier:tin"}, "state": {"scheduled"}}, ids(2)},
			{"in another", url.Values{"label": {"tier:tin"}, "state": {"failed,succeeded"}}, nil},
		} {
			c.query.Set("endpoint", ep)
			if got := idsOf(tg.want(t, 200, "GET", "/v1/tasks?"+c.query.Encode(), nil).obj); !slices.Equal(got, c.want) {
				t.Errorf("%s: got %v, want %v", c.name, got, c.want)
			}
		}
		page := tg.want(t, 200, "GET", "/v1/tasks?limit=1&endpoint="+ep, nil).obj
		tg.want(t, 400, "GET", "/v1/tasks?limit=1&endpoint="+ep+"&state=failed&cursor="+page.str("next_cursor"), nil)
	})
}
