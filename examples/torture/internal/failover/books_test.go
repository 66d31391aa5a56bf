package failover

import (
	"testing"
	"time"
)

// The books find a lost token and an ended one that is accepted, once each, and say
// nothing of a user whose change is in progress or in doubt.
func TestBooksFindWhatIsWrong(t *testing.T) {
	t.Parallel()
	now := time.Now()
	start := func() (*books, *user) {
		u := &user{name: "alice"}
		b := &books{free: []*user{u}}
		b.end(b.begin(), true, "first", now)
		return b, u
	}
	b, _ := start()
	first, change := b.draw()
	if got := b.judge(first, change, time.Now(), false, 0); got != lost {
		t.Errorf("refused: %q", got)
	}
	if got := b.judge(first, change, time.Now(), false, 0); got != "" {
		t.Errorf("refused again: %q", got)
	}
	b, u := start()
	first, change = b.draw()
	b.begin()
	if got := b.judge(first, change, time.Now(), false, 0); got != "" {
		t.Errorf("refused while it is replaced: %q", got)
	}
	b.end(u, true, "second", time.Now())
	if got := b.judge(first, change, first.ended.Add(time.Second), true, 2*time.Second); got != "" {
		t.Errorf("accepted within the lease: %q", got)
	}
	if got := b.judge(first, change, first.ended.Add(time.Second), true, 0); got != revived {
		t.Errorf("accepted after its end: %q", got)
	}
	b, u = start()
	b.end(b.begin(), false, "", time.Now())
	first, change = b.tokens[0], u.change
	for _, accepted := range []bool{true, false} {
		if got := b.judge(first, change, time.Now(), accepted, 0); got != "" {
			t.Errorf("in doubt, accepted %t: %q", accepted, got)
		}
	}
	if len(b.all()) != 0 || b.begin() != nil {
		t.Error("a user in doubt is used again")
	}
}
