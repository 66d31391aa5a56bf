package redisstore_test

import (
	"slices"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A client that sends reads to replicas still reads tokens and counters from
// the master. A second server, which receives no changes, stands in for a
// replica that lags.
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
		t.Errorf("Find returns digest %v, error %v, want the token of the master", got.Digest, err)
	}
	for n := range 2 {
		slots := []tokenauth.Slot{token.Slot, tokenauth.SlotOf("bob", "")}[:n+1]
		got, err := w.FindBatch(t.Context(), slots)
		if err != nil || got[0].Err != nil || got[0].Token.Digest != (tokenauth.Digest{2}) {
			t.Errorf("FindBatch of %d slots returns %v, error %v, want the token of the master", n+1, got, err)
		}
	}
	if got, err := w.List(t.Context(), token.Slot.User); err != nil || len(got) != 1 || got[0].Digest != (tokenauth.Digest{2}) {
		t.Errorf("List returns %v, error %v, want the token of the master", got, err)
	}
	for want := range int64(3) {
		err := w.UpdateCounters(t.Context(), []throttle.Key{{1}}, func(c []throttle.Counter) {
			if c[0].Failures != want {
				t.Errorf("the counter has %d failures, want %d", c[0].Failures, want)
			}
			c[0].Failures++
		})
		if err != nil {
			t.Error(err)
		}
	}
	trial.Run(t, func(t *trial.T) { watch(t, w, beat).goesOn(t) })

	// If the host sends commands to replicas by name, the store reads old tokens,
	// which a cache would keep. So Watch refuses.
	replicated.SendToReplicas = func(c rueidis.Completed) bool { return slices.Contains(c.Commands(), "HGET") }
	refuses(t, withFeed(t, replicated, o, ""), "reads from a replica")
}
