package storage_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A keyStore is a storage of API keys.
type keyStore interface {
	tokenauth.Storage
	tokenauth.Lister
	tokenauth.UseRecorder
	tokenauth.Renamer
}

// A list of 5,000 keys of one user takes less than 100 ms. To find one of them takes as
// long as to find the only key of a user. Of several lists the fastest counts, because
// other work on the machine makes some slower.
//
//	TOKENAUTH_LONG=1 go test -v -run ManyKeys ./storage
func TestManyKeysOfOneUser(t *testing.T) {
	if !throwaway.Long() {
		t.Skip("it measures; set TOKENAUTH_LONG=1")
	}
	const most, lists = 5000, 31
	const longest, ratio, slack = 100 * time.Millisecond, 1.3, time.Microsecond
	storages := map[string]func(*testing.T) tokenauth.Storage{
		"memory": func(*testing.T) tokenauth.Storage { return new(memory.Store) },
		"redis":  func(t *testing.T) tokenauth.Storage { return openRedis(t)(t) },
	}
	for engine, dialector := range engines {
		storages[engine] = func(t *testing.T) tokenauth.Storage {
			s, _ := openStore(t, dialector(t))
			return s
		}
	}
	for _, engine := range slices.Sorted(maps.Keys(storages)) { // one after another
		t.Run(engine, func(t *testing.T) {
			s, ctx := storages[engine](t).(keyStore), t.Context()
			var many, single []tokenauth.Token
			for n := range most {
				many = append(many, userKey("alice", n))
				single = append(single, userKey(fmt.Sprint("user", n), n))
			}
			storeKeys(t, s, append(slices.Clone(many), single...))

			took := make([]time.Duration, lists)
			for i := range took {
				began := time.Now()
				listed, err := s.List(ctx, many[0].Slot.User)
				took[i] = time.Since(began)
				if err != nil || len(listed) != most || listed[i].LastSeen.IsZero() {
					t.Fatalf("List returns %d keys, error %v, want %d with last uses", len(listed), err, most)
				}
			}
			list := slices.Min(took)
			one, among := findsInTurns(t, s, single, many)
			began := time.Now()
			if err := s.Rename(ctx, many[7].Slot, many[7].Digest, "renamed"); err != nil {
				t.Fatal(err)
			}
			renamed := time.Since(began)
			t.Logf("List of %d keys: %v (fastest of %d, median %v); Find: %v of a user with one key, %v of the user with %d; Rename: %v",
				most, list, lists, median(took), one, among, most, renamed)
			if list > longest {
				t.Errorf("List takes %v, want at most %v", list, longest)
			}
			if float64(among-slack) > ratio*float64(one) {
				t.Errorf("Find takes %v with %d keys, and %v with one; want at most %v times as long and %v", among, most, one, ratio, slack)
			}
		})
	}
}

// userKey returns an API key of the user. The number n makes its slot and its digest
// unique.
func userKey(user string, n int) tokenauth.Token {
	u, c := sha256.Sum256([]byte("keys of "+user)), sha256.Sum256(fmt.Appendf(nil, "key %d", n))
	issued := time.Now().Truncate(time.Second).UTC().Add(time.Duration(n%1000) * time.Millisecond)
	return tokenauth.Token{
		Slot:     tokenauth.Slot{User: tokenauth.UserKey(u[:16]), Client: tokenauth.ClientKey(c[:16])},
		Digest:   sha256.Sum256(fmt.Appendf(nil, "digest %s %d", user, n)),
		ClientID: "\x01key", DeviceName: fmt.Sprint("the key of job ", n),
		Principal: tokenauth.Principal{UserID: user, UserName: "name of " + user, Roles: []string{"Reader", "Auditor"}, Attributes: map[string]string{"team": "reports"}},
		IssuedAt:  issued, ExpiresAt: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
}

// storeKeys stores the keys, and records a use of each.
func storeKeys(t *testing.T, s keyStore, keys []tokenauth.Token) {
	t.Helper()
	const workers = 8
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			var uses []tokenauth.Use
			for i := worker; i < len(keys); i += workers {
				k := keys[i]
				if err := s.Replace(t.Context(), k); err != nil {
					t.Error(err)
					return
				}
				uses = append(uses, tokenauth.Use{Slot: k.Slot, Digest: k.Digest, At: k.IssuedAt.Truncate(time.Second)})
			}
			for some := range slices.Chunk(uses, 64) {
				if err := s.RecordUses(t.Context(), some); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// findsInTurns finds the tokens of a and b, one after another and in turns, because the
// speed of a machine varies. It returns the median times.
func findsInTurns(t *testing.T, s tokenauth.Storage, a, b []tokenauth.Token) (inA, inB time.Duration) {
	t.Helper()
	find := func(token tokenauth.Token) time.Duration {
		began := time.Now()
		got, err := s.Find(context.Background(), token.Slot)
		took := time.Since(began)
		if err != nil || got.Digest != token.Digest {
			t.Fatalf("Find returns digest %v, error %v, want %v", got.Digest, err, token.Digest)
		}
		return took
	}
	var tookA, tookB []time.Duration
	for i := range a {
		at := i * 2477 % len(a) // in an order that is not that of the storage
		tookA, tookB = append(tookA, find(a[at])), append(tookB, find(b[at]))
	}
	return median(tookA), median(tookB)
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}
