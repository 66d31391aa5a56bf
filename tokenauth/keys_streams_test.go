package tokenauth_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// openKeyStream opens a stream with a key on a route that needs one of the roles.
func openKeyStream(t testing.TB, auth *tokenauth.Service, key string, roles ...string) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, disconnect := context.WithCancel(t.Context())
	r := httptest.NewRequest("GET", "/events", nil).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+key)
	authorized, refusal := auth.Authorizer(tokenauth.Requirement{Stream: true, Keys: true, Roles: roles})(r)
	if refusal != nil {
		t.Fatalf("the guard answered %d: %v", refusal.Status, refusal.Err)
	}
	return authorized.Context(), disconnect
}

// inKeyStreamBubble runs a test in a synctest bubble, on a storage with a feed and on one
// without. Within how long a change by another replica ends streams is the last argument
// of the test.
func inKeyStreamBubble(t *testing.T, test func(t *testing.T, s *scripted, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, within time.Duration)) {
	t.Parallel()
	for name, fed := range map[string]bool{"with a feed": true, "without a feed": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(scripted)
				var storage tokenauth.Storage = store
				within := 50 * time.Millisecond
				if !fed {
					storage, within = withoutFeed{store}, 5*time.Second+50*time.Millisecond
				}
				users := newOwners(alice())
				auth, keys := keyed(t, storage, users, tokenauth.Options{})
				auth.Authorizer(tokenauth.Requirement{Stream: true})
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() { auth.Run(ctx) })
				synctest.Wait()
				test(t, store, users, auth, keys, within)
				cancel()
				wg.Wait()
			})
		})
	}
}

func TestStreamEndsWithItsKey(t *testing.T) {
	inKeyStreamBubble(t, func(t *testing.T, s *scripted, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, within time.Duration) {
		_, others := keyed(t, &s.Store, users, tokenauth.Options{})
		for _, by := range []*tokenauth.Keys{keys, others} {
			key, made := makeKey(t, keys, alice(), tokenauth.Key{})
			stream, disconnect := openKeyStream(t, auth, key)
			defer disconnect()
			goesOn(t, stream, 61*time.Second)
			if err := by.Revoke(t.Context(), "17", made.ID); err != nil {
				t.Fatal(err)
			}
			endsWith(t, stream, within, "invalid")
		}
		key, _ := makeKey(t, keys, alice(), tokenauth.Key{ExpiresAt: time.Now().Add(time.Hour)})
		stream, disconnect := openKeyStream(t, auth, key)
		defer disconnect()
		s.onCall(func(context.Context, string) error { return errors.New("the storage is down") })
		goesOn(t, stream, time.Hour-3*time.Second)
		endsWith(t, stream, 4*time.Second, "invalid expired")
		s.onCall(nil)
	})
}

// A stream ends when the owner may no longer do what the stream needs, and otherwise
// goes on.
func TestStreamEndsWithTheRoleOfTheOwner(t *testing.T) {
	inKeyStreamBubble(t, func(t *testing.T, s *scripted, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, within time.Duration) {
		other := newService(t, &s.Store, users, nil)
		for _, by := range []*tokenauth.Service{auth, other} {
			users.setRoles(t, auth, "17", "Reader", "Staff")
			now, err := users.get(alice())
			if err != nil {
				t.Fatal(err)
			}
			key, _ := makeKey(t, keys, now, tokenauth.Key{})
			reader, disconnect := openKeyStream(t, auth, key, "Reader")
			defer disconnect()
			staff, disconnect := openKeyStream(t, auth, key, "Staff")
			defer disconnect()
			either, disconnect := openKeyStream(t, auth, key, "Staff", "Reader")
			defer disconnect()
			free, disconnect := openKeyStream(t, auth, key)
			defer disconnect()
			signIn, disconnect := openStream(t, auth, issue(t, auth, now, ""))
			defer disconnect()
			goesOn(t, staff, 25*time.Hour) // longer than the record of the owner counts
			users.setRoles(t, by, "17", "Reader")
			endsWith(t, staff, within, "invalid")
			endsWith(t, signIn, within, "invalid")
			for _, stream := range []context.Context{reader, either, free} {
				goesOn(t, stream, 10*time.Second)
			}
			users.fail(errors.New("no database"))
			if err := by.RevokeUser(t.Context(), "17"); err != nil {
				t.Fatal(err)
			}
			goesOn(t, reader, time.Minute) // a failure ends no stream
			users.fail(nil)
			users.disable("17", true)
			if err := by.RevokeUser(t.Context(), "17"); err != nil {
				t.Fatal(err)
			}
			for _, stream := range []context.Context{reader, either, free} {
				endsWith(t, stream, within+2*time.Second, "invalid")
			}
			users.disable("17", false)
		}
	})
}

// The roles count wherever the guard of the stream stands: before the guards that require
// them, behind them, or between.
func TestStreamEndsWithTheRolesOfLaterGuards(t *testing.T) {
	inKeyStreamBubble(t, func(t *testing.T, s *scripted, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, within time.Duration) {
		stream := tokenauth.Requirement{Stream: true, Keys: true}
		reader := tokenauth.Requirement{Keys: true, Roles: []string{"Reader"}}
		staff := tokenauth.Requirement{Keys: true, Roles: []string{"Staff"}}
		both := tokenauth.Requirement{Stream: true, Keys: true, Roles: []string{"Reader"}}
		for name, test := range map[string]struct {
			guards []tokenauth.Requirement
			ends   bool
		}{
			"before":           {[]tokenauth.Requirement{stream, staff}, true},
			"before two":       {[]tokenauth.Requirement{stream, reader, staff}, true},
			"between":          {[]tokenauth.Requirement{staff, stream, reader}, true},
			"two streams":      {[]tokenauth.Requirement{stream, both, staff}, true},
			"with other roles": {[]tokenauth.Requirement{both, staff}, true},
			"unneeded":         {[]tokenauth.Requirement{both, reader}, false},
		} {
			users.setRoles(t, auth, "17", "Reader", "Staff")
			now, err := users.get(alice())
			if err != nil {
				t.Fatal(err)
			}
			key, _ := makeKey(t, keys, now, tokenauth.Key{})
			ctx, disconnect := context.WithCancel(t.Context())
			defer disconnect()
			r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+key)
			for _, guard := range test.guards {
				next, refusal := auth.Authorizer(guard)(r)
				if refusal != nil {
					t.Fatal(refusal.Err)
				}
				r = next
			}
			goesOn(t, r.Context(), time.Minute)
			users.setRoles(t, auth, "17", "Reader")
			if !test.ends {
				goesOn(t, r.Context(), time.Minute)
				disconnect()
				continue
			}
			t.Logf("the guard of the stream stands %s", name)
			endsWith(t, r.Context(), within, "invalid")
			disconnect()
		}
	})
}
