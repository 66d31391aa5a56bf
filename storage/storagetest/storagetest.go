// Package storagetest proves that a tokenauth.Storage keeps its contract:
//
//	func TestStorage(t *testing.T) {
//		storagetest.Run(t, func(t *testing.T) tokenauth.Storage { return openMine(t) })
//	}
//
// Each rule is a subtest, run on a storage of its own. Abilities that a storage
// may have (tokenauth.BatchFinder, tokenauth.Lister, tokenauth.Purger,
// tokenauth.Watcher, throttle.Storage and tokenauth.ClientRevoker) are found by
// type assertion and tested where they are there.
package storagetest

import (
	"context"
	"sync"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Run runs every rule as a parallel subtest. Open is called for each and
// returns an empty storage; what it needs to close goes into t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) tokenauth.Storage) {
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			if err := rule.check(t.Context(), open(t)); err != nil {
				t.Errorf("%s\nrule: %s", err, rule.says)
			}
		})
	}
}

// check runs every rule, all at once, and returns the failures by the rule's name,
// for the tests of this package. Open returns an empty storage.
func check(ctx context.Context, open func() tokenauth.Storage) map[string]error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	broken := make(map[string]error)
	for _, rule := range rules {
		s := open()
		wg.Go(func() {
			if err := rule.check(ctx, s); err != nil {
				mu.Lock()
				defer mu.Unlock()
				broken[rule.name] = err
			}
		})
	}
	wg.Wait()
	return broken
}

// A rule is a sentence of the contract and how to find out.
type rule struct {
	name  string
	says  string
	check func(context.Context, tokenauth.Storage) error
}

var rules = []rule{
	{"EmptySlot", "Find returns ErrNotFound for an empty slot.", emptySlot},
	{"RoundTrip", "Find returns what Replace stored, every field of it.", roundTrip},
	{"OddValues", "IDs, names, roles and attributes are of any shape.", oddValues},
	{"Expired", "Find returns expired tokens too: time is the Service's to judge.", expired},
	{"Replaced", "Replace keeps the digest that it displaced.", replaced},
	{"SlotsApart", "A slot is one user at one client; others are untouched.", slotsApart},
	{"Revoke", "Revoke empties a slot that holds the digest, and leaves one that does not.", revoke},
	{"RevokeUser", "RevokeUser empties every slot of the user, and of nobody else.", revokeUser},
	{"ReplaceRace", "If n calls of Replace race, all succeed and one token stays.", replaceRace},
	{"RevokeRace", "Revoke compares and deletes in one step.", revokeRace},
	{"RevokeUserRace", "What was stored before RevokeUser was called is gone when it returns.", revokeUserRace},
	{"ContextEnded", "With an ended context, a call changes all or nothing, and never says ErrNotFound for what is there.", contextEnded},
	{"FindBatch", "FindBatch returns at each index what Find does for that slot, for 1 to 64 slots in any order.", findBatch},
	{"FindBatchKept", "FindBatch does not change the slots, and nobody changes what it returned.", findBatchKept},
	{"FindBatchContextEnded", "With a context that ends, FindBatch returns soon, and never says ErrNotFound or ErrCorrupt for what is there.", findBatchContextEnded},
	{"FindBatchFresh", "FindBatch sees every change that was done before the call.", findBatchFresh},
	{"FindBatchRace", "FindBatch reads each slot after the call began, whichever calls run at once.", findBatchRace},
	{"List", "List returns what all slots of the user hold, expired or not, and nothing of anybody else.", list},
	{"ListRace", "List returns each token that is there all the while, and of each slot one, whatever is stored meanwhile.", listRace},
	{"Purge", "Purge removes what expired before the time, and nothing else.", purge},
	{"PurgeStops", "Purge returns the context's error when that ends.", purgeStops},
	{"PurgeRace", "Purge never removes a token that replaced an expired one.", purgeRace},
	{"RevokeClient", "RevokeClient empties the slots of all users at the client, and of no other.", revokeClient},
	{"RevokeClientRace", "What was stored before RevokeClient was called is gone when it returns, and what is stored at other clients meanwhile is not.", revokeClientRace},
	{"CountersRoundTrip", "UpdateCounters has the counters as they were stored, or zero.", countersRoundTrip},
	{"CountersAtomic", "UpdateCounters reads and stores all its counters in one step.", countersAtomic},
	{"CountersUnchanged", "UpdateCounters leaves the counters that are not changed.", countersUnchanged},
	{"CountersContextEnded", "With an ended context, UpdateCounters stores all or nothing.", countersContextEnded},
	{"WatchReports", "Watch reports that a token has ended before it says that it is alive as of a later time.", watchReports},
	{"WatchAlive", "Watch says at least once in each beat that it is alive, by the time before it found out.", watchAlive},
	{"WatchStops", "Watch returns the context's error soon after it ends, and leaves the feed alone from then on.", watchStops},
}
