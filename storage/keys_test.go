package storage_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const (
	manyKeys  = 5000
	fewKeys   = 50
	keyLists  = 31
	keyRounds = 5000 // of validations
)

// The time of a list grows in proportion to the user's keys. To find and to validate one of
// 5,000 keys takes as long as for the only key of a user. The log says how long: on an idle
// machine, a list of 5,000 keys takes less than 100 ms.
//
//	TOKENAUTH_LONG=1 go test -v -run ManyKeys ./storage
func TestManyKeysOfOneUser(t *testing.T) {
	if !throwaway.Long() {
		t.Skip("it measures; set TOKENAUTH_LONG=1")
	}
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
		t.Run(engine, func(t *testing.T) { measureKeys(t, storages[engine](t).(keyStore)) })
	}
}

// A keyStore is a storage of API keys.
type keyStore interface {
	tokenauth.Storage
	tokenauth.UseRecorder
}

func measureKeys(t *testing.T, s keyStore) {
	ctx := t.Context()
	auth, err := tokenauth.New(s, everyone{}, &tokenauth.Options{
		Keys: &tokenauth.KeyOptions{Max: 2 * manyKeys}, Timeout: time.Minute,
		Logger: slog.New(slog.DiscardHandler), Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := tokenauth.NewKeys(auth)
	if err != nil {
		t.Fatal(err)
	}
	// Alice has many keys, carol has few, and the others have one.
	signIns, secrets := make(map[string]string), make(map[string]string)
	var last tokenauth.Key
	for _, user := range []string{"carol", "alice", "bob"} {
		issued, err := auth.Issue(ctx, principalOf(user), nil)
		if err != nil {
			t.Fatal(err)
		}
		signIns[user] = issued.AccessToken.Reveal()
		var secret tokenauth.Secret
		if secret, last, err = keys.Create(ctx, issued.Token, tokenauth.Key{Name: "CI"}); err != nil {
			t.Fatal(err)
		}
		secrets[user] = secret.Reveal()
	}
	rangeOf := func(user string) tokenauth.UserKey {
		token, err := keys.Validate(ctx, secrets[user])
		if err != nil {
			t.Fatal(err)
		}
		return token.Slot.User
	}
	var few, many, single []tokenauth.Token
	for n := range fewKeys - 1 {
		few = append(few, userKey(rangeOf("carol"), "carol", n))
	}
	alices := rangeOf("alice")
	for n := range manyKeys - 1 {
		many = append(many, userKey(alices, "alice", n))
		user := fmt.Sprint("user", n)
		single = append(single, userKey(tokenauth.UserKeyOf(user), user, n))
	}
	storeKeys(t, s, slices.Concat(few, many, single))

	lists := make(map[string][]time.Duration)
	for range keyLists {
		for user, n := range map[string]int{"alice": manyKeys, "carol": fewKeys} {
			began := time.Now()
			listed, err := keys.List(ctx, user)
			lists[user] = append(lists[user], time.Since(began))
			unused := slices.DeleteFunc(listed, func(k tokenauth.Key) bool { return !k.LastSeen.IsZero() })
			if err != nil || len(listed) != n || len(unused) != 1 { // that of Create
				t.Fatalf("List returns %d keys, error %v, want %d with %d last uses", len(listed), err, n, n-1)
			}
		}
	}
	validate := func(key string) func(int) error {
		return func(int) error { _, err := keys.Validate(ctx, key); return err }
	}
	find := func(tokens []tokenauth.Token) func(int) error {
		return func(i int) error {
			want := tokens[i*2477%len(tokens)] // in an order that is not that of the storage
			got, err := s.Find(context.Background(), want.Slot)
			if err == nil && got.Digest != want.Digest {
				err = errors.New("found another token")
			}
			return err
		}
	}
	took := inTurns(t, find(single), find(many), validate(secrets["bob"]), validate(secrets["alice"]),
		func(int) error { _, err := auth.Validate(ctx, signIns["bob"]); return err })
	findOne, findMany, validateOne, validateMany, signIn := took[0], took[1], took[2], took[3], took[4]
	began := time.Now()
	if err := keys.Rename(ctx, "bob", last.ID, "renamed"); err != nil {
		t.Fatal(err)
	}
	listFew, listMany := median(lists["carol"]), median(lists["alice"])
	t.Logf("list of %d keys: %v (fastest of %d, median %v), of %d: %v; rename: %v", manyKeys, slices.Min(lists["alice"]), keyLists, listMany, fewKeys, listFew, time.Since(began))
	t.Logf("find, of a user with one key: %v, of the user with %d: %v", findOne, manyKeys, findMany)
	t.Logf("validate, of a user with one key: %v, of the user with %d: %v; an access token: %v", validateOne, manyKeys, validateMany, signIn)

	const slack = time.Microsecond
	for _, test := range []struct {
		what      string
		few, many time.Duration
		ratio     float64
	}{
		{"to find a key", findOne, findMany, 1.3},
		{"to validate a key", validateOne, validateMany, 1.3},
		// A long list also waits for garbage collections. It would be 100 if the time grew
		// with the square of the keys.
		{"to list a key", listFew / fewKeys, listMany / manyKeys, 10},
	} {
		if float64(test.many-slack) > test.ratio*float64(test.few) {
			t.Errorf("%s takes %v if the user has %d, and %v with few; want at most %v times as long and %v", test.what, test.many, manyKeys, test.few, test.ratio, slack)
		}
	}
}

// everyone is a [tokenauth.Reloader] of users who may all sign in.
type everyone struct{}

func principalOf(user string) tokenauth.Principal {
	return tokenauth.Principal{UserID: user, UserName: "name of " + user, Roles: []string{"Reader", "Auditor"}}
}

func (everyone) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	return principalOf(c.UserName), nil
}

func (everyone) Reload(_ context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	return principalOf(p.UserID), nil
}

// userKey returns an API key of the user, with the others of the range. The number n makes
// its slot and its digest unique.
func userKey(keys tokenauth.UserKey, user string, n int) tokenauth.Token {
	c := sha256.Sum256(fmt.Appendf(nil, "key %d", n))
	issued := time.Now().Truncate(time.Second).UTC().Add(time.Duration(n%1000) * time.Millisecond)
	p := principalOf(user)
	p.Attributes = map[string]string{"team": "reports"}
	return tokenauth.Token{
		Slot:     tokenauth.Slot{User: keys, Client: tokenauth.ClientKey(c[:16])},
		Digest:   sha256.Sum256(fmt.Appendf(nil, "digest %s %d", user, n)),
		ClientID: "\x01key", DeviceName: fmt.Sprint("the key of job ", n), Principal: p,
		IssuedAt: issued, ExpiresAt: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
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

// inTurns makes the calls in turns, because the speed of a machine varies. It returns the
// median time of each.
func inTurns(t *testing.T, calls ...func(i int) error) (medians []time.Duration) {
	t.Helper()
	took := make([][]time.Duration, len(calls))
	for i := range keyRounds {
		for n := range calls {
			n = (n + i) % len(calls) // no call always follows the same one
			began := time.Now()
			err := calls[n](i)
			took[n] = append(took[n], time.Since(began))
			if err != nil {
				t.Fatalf("call %d: %v", n, err)
			}
		}
	}
	for _, all := range took {
		medians = append(medians, median(all))
	}
	return medians
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}
