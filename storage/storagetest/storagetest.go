// Package storagetest tests whether a [tokenauth.Storage] follows the rules that
// [tokenauth.Service] relies on:
//
//	func TestStorage(t *testing.T) {
//		storagetest.Run(t, func(t *testing.T) tokenauth.Storage { return openMine(t) })
//	}
//
// [Run] tests each rule in its own subtest, with its own storage. If a rule is
// broken, the failure states the rule in one sentence.
//
// Run also tests the optional interfaces that the storage implements:
// [tokenauth.BatchFinder], [tokenauth.Lister], [tokenauth.Purger],
// [tokenauth.Watcher], [tokenauth.BulkRevoker], [tokenauth.UseRecorder],
// [tokenauth.Refresher], [tokenauth.Renamer] and [throttle.Storage].
// [RunClients] tests a client registry.
package storagetest

import (
	"context"
	"sync"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Run tests a storage against every rule, in parallel subtests of t. It calls
// open once for each rule. Open must return a new, empty storage, and register
// its clean-up with [testing.T.Cleanup].
func Run(t *testing.T, open func(t *testing.T) tokenauth.Storage) {
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			if err := rule.check(t.Context(), open(t)); err != nil {
				t.Errorf("%s\nbroken rule: %s", err, rule.says)
			}
		})
	}
}

// check tests every rule concurrently, and returns the failures by rule name.
// It exists for this package's tests. Open must return a new, empty storage.
func check(ctx context.Context, open func() tokenauth.Storage) map[string]error {
	return checkSome(ctx, open, rules)
}

// checkSome is check for some of the rules.
func checkSome(ctx context.Context, open func() tokenauth.Storage, rules []rule) map[string]error {
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

// A rule is one rule that a [tokenauth.Storage] must follow, with its test. The
// list named rules also contains the rules for the optional interfaces.
type rule struct {
	name  string
	says  string
	check func(context.Context, tokenauth.Storage) error
}

var rules = []rule{
	{"EmptySlot", "Find returns ErrNotFound for an empty slot.", emptySlot},
	{"RoundTrip", "Find returns every field of the token that Replace stored.", roundTrip},
	{"OddValues", "IDs, names, names of devices, roles and attributes may be any text.", oddValues},
	{"Expired", "Find returns expired tokens too. The Service decides whether a token has expired.", expired},
	{"Replaced", "Replace records the digest of the token that it replaced.", replaced},
	{"SlotsApart", "A slot belongs to one user at one client, or on one device. A change of one slot leaves all others as they are.", slotsApart},
	{"DevicesApart", "Each device of a user at a client has a slot of its own. The bytes of its key are arbitrary.", devicesApart},
	{"KeepsDeviceName", "If the new token has no DeviceName, Replace keeps the DeviceName of the token before it in the slot.", keepsDeviceName},
	{"Revoke", "Revoke empties the slot if its token has the given digest. Otherwise it leaves the slot as it is and returns nil.", revoke},
	{"RevokeUser", "RevokeUser empties every slot of the user, and no slot of another user.", revokeUser},
	{"ReplaceRace", "When calls of Replace run concurrently, all succeed and one token remains.", replaceRace},
	{"KeepsDeviceNameRace", "Replace keeps the DeviceName of the token that it replaces, also when another call of Replace runs concurrently.", keepsDeviceNameRace},
	{"RevokeRace", "Revoke compares the digest and removes the token in one atomic step.", revokeRace},
	{"RevokeUserRace", "When RevokeUser returns, all tokens of the user that were stored before the call are gone.", revokeUserRace},
	{"ContextEnded", "With an ended context, a call makes its whole change or none, and does not return ErrNotFound for a stored token.", contextEnded},
	{"FindBatch", "FindBatch returns at each index what Find returns for that slot, for 1 to 64 slots in any order.", findBatch},
	{"FindBatchKept", "FindBatch does not modify its argument, and its results do not change after it has returned.", findBatchKept},
	{"FindBatchContextEnded", "When its context ends, FindBatch returns soon, and does not return ErrNotFound or ErrCorrupt for a stored token.", findBatchContextEnded},
	{"FindBatchFresh", "FindBatch sees every change that was complete before the call.", findBatchFresh},
	{"FindBatchRace", "FindBatch reads each slot after the call began, also when other calls run concurrently.", findBatchRace},
	{"List", "List returns the tokens in all slots of the user, expired or not, and no token of another user.", list},
	{"ListRace", "While tokens are replaced, List returns exactly one token for each slot that always holds one.", listRace},
	{"Purge", "Purge removes all tokens that expired before the given time, and no others.", purge},
	{"PurgeStops", "When its context ends, Purge returns the context's error.", purgeStops},
	{"PurgeRace", "Purge does not remove a token that replaced an expired one.", purgeRace},
	{"RevokeClient", "RevokeClient empties the slots of all users at the client, and no slot at another client.", revokeClient},
	{"RevokeClientRace", "When RevokeClient returns, all tokens of the client that were stored before the call are gone. Tokens that are stored at other clients meanwhile remain.", revokeClientRace},
	{"RevokeClientDevices", "RevokeClient empties the slots of all devices of the client, and no slot at another client.", revokeClientDevices},
	{"RevokeAll", "RevokeAll empties every slot.", revokeAll},
	{"RevokeAllRace", "When RevokeAll returns, all tokens that were stored before the call are gone, also if users sign in meanwhile.", revokeAllRace},
	{"RecordUses", "RecordUses records the hour in which a token was last used, and List returns it as LastSeen. An earlier hour does not replace a later one.", recordUses},
	{"RecordUsesDigest", "RecordUses changes nothing if the slot is empty or holds a token with another digest. A new token in the slot has no use from before.", recordUsesDigest},
	{"RecordUsesExtends", "RecordUses sets the token's ExpiresAt to a later Use.ExpiresAt, even if a use in the same hour was recorded before. It never sets it to an earlier time.", recordUsesExtends},
	{"RecordUsesMany", "RecordUses records each of many uses in one call.", recordUsesMany},
	{"RecordUsesRace", "RecordUses neither brings a token back that ends meanwhile, nor changes the token that replaces it. Of concurrent uses, the latest counts.", recordUsesRace},
	{"RecordUsesContextEnded", "With an ended context, RecordUses returns soon, and records each use as a whole or not.", recordUsesContextEnded},
	{"RevokeUnused", "RevokeUnused ends the tokens that were issued before the given time, except those with a use recorded for that time or later. It returns how many.", revokeUnused},
	{"RevokeUnusedAll", "RevokeUnused ends all such tokens, however many there are. It keeps the slots of the user key of 0xFF bytes.", revokeUnusedAll},
	{"RevokeUnusedRace", "RevokeUnused never ends a token that was stored or used meanwhile, unless its use was recorded too late.", revokeUnusedRace},
	{"RefreshRoundTrip", "FindRefresh and List return the Refresh that Replace stored, and everything else of the token. Its State may be any bytes.", refreshRoundTrip},
	{"Refresh", "If the slot holds the given token, Refresh stores the new one and returns true. The slot then holds every field of the new token, and no other slot changes.", refresh},
	{"RefreshCompares", "If the Digest, the State or the Stamp differs from that of the token in the slot, or if the slot is empty, Refresh returns false and changes nothing.", refreshCompares},
	{"RefreshReplaced", "After Replace, Refresh returns false for the token before, also if the new token has no Refresh.", refreshReplaced},
	{"RefreshRevoked", "Whatever empties a slot ends its Refresh, also after refreshes. Refresh then returns false and stores nothing.", refreshRevoked},
	{"RefreshPurge", "Purge keeps a token until both its ExpiresAt and that of its Refresh are before the given time.", refreshPurge},
	{"RefreshUses", "A refreshed token has no use from before. If the Digest stays, so does the recorded use.", refreshUses},
	{"RefreshRace", "Of concurrent calls of Refresh for one token, exactly one stores its token and returns true.", refreshRace},
	{"RefreshReplaceRace", "If Replace and Refresh run concurrently, the token of Replace remains.", refreshReplaceRace},
	{"RefreshRevokeRace", "If Revoke and Refresh run concurrently, either Refresh returns true and its token remains, or it returns false and the slot is empty.", refreshRevokeRace},
	{"RefreshRevokeUserRace", "After RevokeUser, RevokeClient and RevokeAll, no concurrent Refresh brings a token back.", refreshRevokeUserRace},
	{"RefreshPurgeRace", "Purge does not remove a token that Refresh stored meanwhile, and Refresh does not bring back one that Purge removed.", refreshPurgeRace},
	{"RefreshContextEnded", "With a context that ends, Refresh returns soon, and stores the whole token or nothing. It does not return false for the token in the slot.", refreshContextEnded},
	{"FindRefresh", "FindRefresh returns the token of each slot at the same index, or ErrNotFound for an empty slot, for 1 to 64 slots in any order.", findRefreshBatch},
	{"FindRefreshKept", "FindRefresh and Refresh do not modify their arguments, and the results of FindRefresh do not change after it has returned.", findRefreshKept},
	{"FindRefreshContextEnded", "When its context ends, FindRefresh returns soon, and does not return ErrNotFound or ErrCorrupt for a stored token.", findRefreshContextEnded},
	{"FindRefreshRace", "FindRefresh reads each slot after the call began, and a token and its Refresh in one step.", findRefreshRace},
	{"Keys", "An API key, a token with the client ID \x01key, keeps its expiry in the year 9999 to the second. RevokeUnused, RevokeClient of any client and Purge keep it.", keys},
	{"Rename", "Rename changes the DeviceName of the token with the digest, and nothing else. It changes nothing and returns nil if the slot is empty or holds another token.", rename},
	{"RenameRace", "Rename compares the digest and changes the name in one atomic step. It neither brings a token back that ends meanwhile, nor changes another one, nor undoes a concurrent change.", renameRace},
	{"CountersRoundTrip", "UpdateCounters calls the function with each counter as it was stored, or zero if it was not stored.", countersRoundTrip},
	{"CountersAtomic", "UpdateCounters reads and stores all its counters in one atomic step.", countersAtomic},
	{"CountersUnchanged", "UpdateCounters keeps the counters that the function does not change.", countersUnchanged},
	{"CountersContextEnded", "With an ended context, UpdateCounters stores all its counters or none.", countersContextEnded},
	{"WatchReports", "Watch reports that a token has ended before it sends a heartbeat with a later time.", watched(watchReports)},
	{"WatchIgnoresUses", "Watch does not report that a use was recorded.", watched(watchIgnoresUses)},
	{"WatchAlive", "Watch sends a heartbeat at least once in each beat, with a time from before it checked the connection.", watched(watchAlive)},
	{"WatchStops", "When its context ends, Watch soon returns the context's error. After that it calls no method of the feed.", watched(watchStops)},
}
