package throwaway

import (
	"context"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestOutsideReturnsFailuresAndSkips(t *testing.T) {
	t.Parallel()
	var dir string
	var ctx context.Context
	var order []int
	err := Outside(t.Context(), func(tb testing.TB) {
		ctx, dir = tb.Context(), tb.TempDir()
		tb.Cleanup(func() { order = append(order, 1) })
		tb.Cleanup(func() { order = append(order, 2) })
		if _, err := os.Stat(dir); err != nil || ctx.Err() != nil {
			t.Errorf("while the function runs: Stat of the folder returns %v, the context's error is %v, want none", err, ctx.Err())
		}
		tb.Errorf("one is %d", 1)
		tb.Fatal("two")
		t.Error("the function continued after Fatal")
	})
	if err == nil || err.Error() != "one is 1\ntwo" || errors.Is(err, ErrMissing) {
		t.Errorf("Outside returns error %v, want the texts of Errorf and Fatal", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) || ctx.Err() == nil || !reflect.DeepEqual(order, []int{2, 1}) {
		t.Errorf("afterwards: Stat of the folder returns %v, the context's error is %v, the clean-ups ran in the order %v", err, ctx.Err(), order)
	}
	err = Outside(t.Context(), func(tb testing.TB) { tb.Skip("install it") })
	if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "install it") {
		t.Errorf("after Skip, Outside returns error %v, want ErrMissing", err)
	}
	if err := Outside(t.Context(), func(testing.TB) {}); err != nil {
		t.Errorf("without a failure, Outside returns error %v", err)
	}
	defer func() {
		if recover() != "oh no" {
			t.Error("Outside does not pass on a panic")
		}
	}()
	Outside(t.Context(), func(testing.TB) { panic("oh no") })
}

func TestNeedSkipsUnlessRequired(t *testing.T) {
	t.Setenv("TOKENAUTH_REQUIRE", "redis, thing")
	err := Outside(t.Context(), func(tb testing.TB) { Need(tb, "other", errors.New("install other")) })
	if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "install other") {
		t.Errorf("missing and not required: got error %v, want ErrMissing", err)
	}
	err = Outside(t.Context(), func(tb testing.TB) { Need(tb, "thing", errors.New("install thing")) })
	if err == nil || errors.Is(err, ErrMissing) {
		t.Errorf("missing and required: got error %v, want a failure", err)
	}
	if err := Outside(t.Context(), func(tb testing.TB) { Need(tb, "thing", nil) }); err != nil {
		t.Errorf("not missing: got error %v", err)
	}
}
