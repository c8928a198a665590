package rabbit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShares(2)
		enter := func(key string) *share {
			t.Helper()
			sh, err := s.enter(t.Context(), key, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			return sh
		}
		one, two := enter("stuck"), enter("stuck")
		begin := time.Now()
		if _, err := s.enter(t.Context(), "stuck", time.Second); !errors.Is(err, errShareFull) || time.Since(begin) != time.Second {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := s.enter(ctx, "stuck", time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		enter("healthy").leave()
		time.AfterFunc(time.Millisecond, one.leave)
		three := enter("stuck")
		two.leave()
		three.leave()
		if len(s.byKey) != 0 {
			t.Errorf("%d shares nobody uses are kept", len(s.byKey))
		}
	})
}
