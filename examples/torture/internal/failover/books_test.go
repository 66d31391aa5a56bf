package failover

import (
	"testing"
	"time"
)

// judge reports a lost token and an accepted ended token, once each. It reports
// nothing while a change of the user is in progress, or after its answer was lost.
func TestJudgeReportsLostAndRevivedTokens(t *testing.T) {
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
		t.Errorf("a valid token was refused: got %q, want %q", got, lost)
	}
	if got := b.judge(first, change, time.Now(), false, 0); got != "" {
		t.Errorf("it was refused again: got %q, want no second finding", got)
	}
	b, u := start()
	first, change = b.draw()
	b.begin()
	if got := b.judge(first, change, time.Now(), false, 0); got != "" {
		t.Errorf("a token was refused during its replacement: got %q, want no finding", got)
	}
	b.end(u, true, "second", time.Now())
	if got := b.judge(first, change, first.ended.Add(time.Second), true, 2*time.Second); got != "" {
		t.Errorf("an ended token was accepted within the lease: got %q, want no finding", got)
	}
	if got := b.judge(first, change, first.ended.Add(time.Second), true, 0); got != revived {
		t.Errorf("an ended token was accepted: got %q, want %q", got, revived)
	}
	b, u = start()
	b.end(b.begin(), false, "", time.Now())
	first, change = b.tokens[0], u.change
	for _, accepted := range []bool{true, false} {
		if got := b.judge(first, change, time.Now(), accepted, 0); got != "" {
			t.Errorf("after a lost answer, accepted %t: got %q, want no finding", accepted, got)
		}
	}
	if len(b.all()) != 0 || b.begin() != nil {
		t.Error("a user whose answer was lost is used again")
	}
}
