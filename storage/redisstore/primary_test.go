package redisstore_test

import (
	"slices"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A client that sends reads to replicas reads tokens and counters from the
// master all the same. A replica that lags for ever is one that nobody tells of
// anything: another server.
func TestReadsGoToTheMaster(t *testing.T) {
	t.Parallel()
	o := option(t, throwaway.StartRedis(t).DSN())
	lagging := option(t, throwaway.StartRedis(t).DSN())
	replicated := o
	replicated.Standalone.ReplicaAddress = lagging.InitAddress
	replicated.SendToReplicas = func(c rueidis.Completed) bool { return c.IsReadOnly() }
	w := withFeed(t, replicated, o, "")
	token := newToken("alice", "", 1, time.Hour)
	replace(t, newStore(t, open(t, lagging), ""), token)
	replace(t, w, newToken("alice", "", 2, time.Hour))
	if got, err := w.Find(t.Context(), token.Slot); err != nil || got.Digest != (tokenauth.Digest{2}) {
		t.Errorf("Find returns %v, error %v", got.Digest, err)
	}
	for n := range 2 {
		slots := []tokenauth.Slot{token.Slot, tokenauth.SlotOf("bob", "")}[:n+1]
		got, err := w.FindBatch(t.Context(), slots)
		if err != nil || got[0].Err != nil || got[0].Token.Digest != (tokenauth.Digest{2}) {
			t.Errorf("FindBatch of %d returns %v, error %v", n+1, got, err)
		}
	}
	if got, err := w.List(t.Context(), token.Slot.User); err != nil || len(got) != 1 || got[0].Digest != (tokenauth.Digest{2}) {
		t.Errorf("List returns %v, error %v", got, err)
	}
	for want := range int64(3) {
		err := w.UpdateCounters(t.Context(), []throttle.Key{{1}}, func(c []throttle.Counter) {
			if c[0].Failures != want {
				t.Errorf("there are %d failures, not %d", c[0].Failures, want)
			}
			c[0].Failures++
		})
		if err != nil {
			t.Error(err)
		}
	}
	watch(t, w, 100*time.Millisecond).goesOn(t)

	// A host that chooses by name reads old tokens. A cache would keep them.
	replicated.SendToReplicas = func(c rueidis.Completed) bool { return slices.Contains(c.Commands(), "HGET") }
	refuses(t, withFeed(t, replicated, o, ""), "reads from a replica")
}
