package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/place"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// owners is an Authenticator, a Rechecker and a Reloader with users that the test
// changes.
type owners struct {
	mu       sync.Mutex
	users    map[string]tokenauth.Principal // by their IDs
	disabled map[string]bool
	err      error // of Reload
	reloads  int
	during   func(call int) // called by Reload after it read the user, with the number of the call
	commit   func()         // commits a transaction that is changing a user, for which Recheck waits; nil if there is none
}

func newOwners(all ...tokenauth.Principal) *owners {
	o := &owners{users: make(map[string]tokenauth.Principal), disabled: make(map[string]bool)}
	for _, p := range all {
		o.users[p.UserID] = p
	}
	return o
}

func (o *owners) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	return alice(), nil
}

func (o *owners) get(p tokenauth.Principal) (tokenauth.Principal, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now, ok := o.users[p.UserID]
	if !ok || o.disabled[p.UserID] {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return now.Clone(), o.err
}

func (o *owners) Recheck(_ context.Context, p tokenauth.Principal) error {
	if o.commit != nil {
		o.commit()
		o.commit = nil
	}
	now, err := o.get(p)
	if err == nil && now.Stamp != p.Stamp {
		err = tokenauth.ErrRejected
	}
	return err
}

func (o *owners) Reload(_ context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	now, err := o.get(p)
	if err == nil && p.Stamp != "" && now.Stamp != p.Stamp {
		err = tokenauth.ErrRejected
	}
	o.mu.Lock()
	o.reloads++
	call, during := o.reloads, o.during
	o.mu.Unlock()
	if during != nil {
		during(call)
	}
	return now, err
}

// change changes a user, and returns how often Reload was called since the last call of
// change.
func (o *owners) change(userID string, f func(*tokenauth.Principal)) (reloads int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.users[userID].Clone()
	f(&p)
	o.users[userID] = p
	reloads, o.reloads = o.reloads, 0
	return reloads
}

// asked returns how often Reload was called since the last call of asked or change.
func (o *owners) asked() int { return o.change("17", func(*tokenauth.Principal) {}) }

func (o *owners) disable(userID string, disabled bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.disabled[userID] = disabled
}

// setDuring sets the func that Reload calls.
func (o *owners) setDuring(f func(call int)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.during = f
}

func (o *owners) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

// setRoles changes the roles of a user as a host does: it ends the user's sign-ins.
func (o *owners) setRoles(t testing.TB, auth *tokenauth.Service, userID string, roles ...string) {
	t.Helper()
	o.change(userID, func(p *tokenauth.Principal) { p.Roles, p.Stamp = roles, "stamp of "+strings.Join(roles, " ") })
	if err := auth.RevokeUser(t.Context(), userID); err != nil {
		t.Fatal(err)
	}
}

// keyed returns a Service with keys, and its Keys.
func keyed(t testing.TB, s tokenauth.Storage, a tokenauth.Authenticator, o tokenauth.Options) (*tokenauth.Service, *tokenauth.Keys) {
	t.Helper()
	if o.Keys == nil {
		o.Keys = &tokenauth.KeyOptions{Prefix: "sk-"}
	}
	auth := newService(t, s, a, &o)
	keys, err := tokenauth.NewKeys(auth)
	if err != nil {
		t.Fatal(err)
	}
	return auth, keys
}

// makeKey makes a key of the user.
func makeKey(t testing.TB, keys *tokenauth.Keys, p tokenauth.Principal, k tokenauth.Key) (secret string, made tokenauth.Key) {
	t.Helper()
	text, made, err := keys.Create(t.Context(), tokenauth.Token{Principal: p}, k)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return text.Reveal(), made
}

// garbled returns the key with another last character.
func garbled(key string) string {
	last := "A"
	if strings.HasSuffix(key, last) {
		last = "B"
	}
	return key[:len(key)-1] + last
}

// expectKey validates a key. It expects these roles, joined with commas, or an error as
// reason returns it.
func expectKey(t testing.TB, keys *tokenauth.Keys, key, want string) {
	t.Helper()
	token, err := keys.Validate(t.Context(), key)
	got := reason(err)
	if err == nil {
		got = strings.Join(token.Principal.Roles, ",")
	}
	if got != want {
		t.Errorf("the key is %q, want %q; error %v", got, want, err)
	}
	if err != nil && (!token.Digest.IsZero() || token.Key != "") {
		t.Errorf("Validate returned an error with the token %+v", token)
	}
}

// with returns the status of a guard's answer to a request with the access token.
func with(guard func(http.Handler) http.Handler, accessToken string) (status int, body string) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+accessToken)
	w := httptest.NewRecorder()
	guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := tokenauth.FromContext(r.Context())
		fmt.Fprintf(w, "%s %s %s", token.Principal.UserName, token.Key, token.Principal.Roles)
	})).ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestUsersMakeListRenameAndRevokeKeys(t *testing.T) {
	t.Parallel()
	var clock tokenauthtest.Clock
	store := new(memory.Store)
	auth, keys := keyed(t, store, newOwners(alice(), bob()), tokenauth.Options{Now: clock.Now})
	clock.Advance(1500 * time.Millisecond)
	secret, first := makeKey(t, keys, alice(), tokenauth.Key{
		ID: "ignored", Name: "ci", Roles: []string{"Reader"}, Attributes: map[string]string{"project": "7"}, ExpiresAt: clock.Now().Add(90 * time.Minute), CreatedAt: clock.Now().AddDate(1, 0, 0),
	})
	if first.Name != "ci" || !slices.Equal(first.Roles, []string{"Reader"}) || first.Attributes["project"] != "7" || !first.CreatedAt.Equal(clock.Now()) ||
		!first.LastSeen.IsZero() || !first.ExpiresAt.Equal(clock.Now().Add(90*time.Minute).Truncate(time.Second)) {
		t.Errorf("made %+v", first)
	}
	if !strings.HasPrefix(secret, first.ID) || len(first.ID) != len("sk-")+12 || len(secret) != len("sk-")+84 {
		t.Errorf("the key %s has the ID %s, want its first characters", secret, first.ID)
	}
	clock.Advance(time.Second)
	_, second := makeKey(t, keys, alice(), tokenauth.Key{Name: "all", Roles: nil})
	_, third := makeKey(t, keys, alice(), tokenauth.Key{Name: "none", Roles: []string{}})
	if !second.ExpiresAt.IsZero() || second.Roles != nil || third.Roles == nil {
		t.Errorf("made %+v and %+v", second, third)
	}
	_, bobs := makeKey(t, keys, bob(), tokenauth.Key{})

	token, err := keys.Validate(t.Context(), secret)
	if err != nil || token.Key != first.ID || token.ClientID != "" || token.DeviceName != "ci" || token.Principal.UserID != "17" || token.Principal.UserName != "alice" ||
		token.Principal.Stamp != "stamp-1" || fmt.Sprint(token.Principal.Attributes) != "map[project:7 tenant:north]" || !token.ExpiresAt.Equal(first.ExpiresAt) {
		t.Errorf("validated %+v, error %v", token, err)
	}
	names := func(userID string) (names string) {
		list, err := keys.List(t.Context(), userID)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range list {
			names += k.Name + " "
		}
		return names
	}
	if got := names("17"); got != "none all ci " {
		t.Errorf("listed %q, want the newest key first", got)
	}
	if err := keys.Rename(t.Context(), "17", second.ID, "renamed"); err != nil {
		t.Error(err)
	}
	for _, test := range []struct{ userID, id string }{{"18", second.ID}, {"17", bobs.ID}, {"17", ""}, {"17", "sk-AAAAAAAAAAAA"}, {"17", secret}, {"", first.ID}} {
		if err := keys.Rename(t.Context(), test.userID, test.id, "x"); err != tokenauth.ErrNotFound {
			t.Errorf("Rename of key %q of user %q returned error %v, want ErrNotFound", test.id, test.userID, err)
		}
		if err := keys.Revoke(t.Context(), test.userID, test.id); err != tokenauth.ErrNotFound {
			t.Errorf("Revoke of key %q of user %q returned error %v, want ErrNotFound", test.id, test.userID, err)
		}
	}
	for _, name := range []string{strings.Repeat("x", 101), "a\nb", "\xff"} {
		if err := keys.Rename(t.Context(), "17", second.ID, name); !errors.Is(err, tokenauth.ErrInvalidPrincipal) {
			t.Errorf("Rename to %q returned error %v", name, err)
		}
	}
	if got := names("17"); got != "none renamed ci " {
		t.Errorf("listed %q, want one renamed key", got)
	}
	expectKey(t, keys, secret, "Reader")
	if err := keys.Revoke(t.Context(), "17", first.ID); err != nil {
		t.Error(err)
	}
	expectKey(t, keys, secret, "invalid")
	if err := keys.Revoke(t.Context(), "17", first.ID); err != tokenauth.ErrNotFound {
		t.Errorf("a second Revoke returned error %v, want ErrNotFound", err)
	}
	if err := keys.RevokeAll(t.Context(), "17"); err != nil {
		t.Error(err)
	}
	if err := keys.RevokeAll(t.Context(), ""); !errors.Is(err, tokenauth.ErrInvalidPrincipal) {
		t.Errorf("RevokeAll of no user returned error %v", err)
	}
	if a, b := names("17"), names("18"); a != "" || b != " " {
		t.Errorf("after RevokeAll, the users have the keys %q and %q", a, b)
	}
	expect(t, auth, secret, "invalid")
}

func TestCreateRefusesWhatCannotBeStored(t *testing.T) {
	t.Parallel()
	users := newOwners(alice())
	_, keys := keyed(t, new(memory.Store), users, tokenauth.Options{})
	secret, _ := makeKey(t, keys, alice(), tokenauth.Key{})
	key, err := keys.Validate(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	old := alice()
	old.Stamp = "an earlier stamp"
	for _, test := range []struct {
		name  string
		owner tokenauth.Token
		key   tokenauth.Key
		want  string
	}{
		{"a role that the owner lacks", tokenauth.Token{Principal: alice()}, tokenauth.Key{Roles: []string{"Reader", "Administrator"}}, "principal"},
		{"the role that stands for all", tokenauth.Token{Principal: tokenauth.Principal{UserID: "17", Roles: []string{"\x01all"}}}, tokenauth.Key{Roles: []string{"\x01all"}}, "principal"},
		{"no user", tokenauth.Token{}, tokenauth.Key{}, "principal"},
		{"a long name", tokenauth.Token{Principal: alice()}, tokenauth.Key{Name: strings.Repeat("x", 101)}, "principal"},
		{"an attribute without a name", tokenauth.Token{Principal: alice()}, tokenauth.Key{Attributes: map[string]string{"": "x"}}, "principal"},
		{"large attributes", tokenauth.Token{Principal: alice()}, tokenauth.Key{Attributes: map[string]string{"x": strings.Repeat("x", 8192)}}, "principal"},
		{"an expiry in the past", tokenauth.Token{Principal: alice()}, tokenauth.Key{ExpiresAt: time.Now()}, "principal"},
		{"an expiry in the year 10000", tokenauth.Token{Principal: alice()}, tokenauth.Key{ExpiresAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, "principal"},
		{"a key as its owner", key, tokenauth.Key{}, "rejected"},
		{"a sign-in before a change", tokenauth.Token{Principal: old}, tokenauth.Key{}, "rejected"},
		{"an unknown user", tokenauth.Token{Principal: tokenauth.Principal{UserID: "99"}}, tokenauth.Key{}, "rejected"},
	} {
		secret, made, err := keys.Create(t.Context(), test.owner, test.key)
		if reason(err) != test.want || secret.Reveal() != "" || made.ID != "" {
			t.Errorf("%s: error %v, want %s", test.name, err, test.want)
		}
	}
	users.disable("17", true)
	if _, _, err := keys.Create(t.Context(), tokenauth.Token{Principal: alice()}, tokenauth.Key{}); !errors.Is(err, tokenauth.ErrRejected) {
		t.Errorf("a disabled user: error %v, want ErrRejected", err)
	}
	users.disable("17", false)
	if list, err := keys.List(t.Context(), "17"); err != nil || len(list) != 1 {
		t.Errorf("the refused calls left keys: %v, error %v", list, err)
	}
	if list, err := keys.List(t.Context(), "99"); err != nil || len(list) != 0 {
		t.Errorf("the refused calls left keys: %v, error %v", list, err)
	}
}

func TestNewRefusesKeysThatCannotWork(t *testing.T) {
	t.Parallel()
	store, users := new(memory.Store), newOwners()
	type noUses struct {
		tokenauth.Storage
		tokenauth.Lister
	}
	for _, test := range []struct {
		s    tokenauth.Storage
		a    tokenauth.Authenticator
		o    tokenauth.Options
		says string
	}{
		{embeddingStorage{store}, users, tokenauth.Options{}, "Lister"},
		{noUses{store, store}, users, tokenauth.Options{}, "UseRecorder"},
		{store, new(staff), tokenauth.Options{}, "Reloader"},
		{store, nil, tokenauth.Options{}, "Reloader"},
		{store, users, tokenauth.Options{Keys: &tokenauth.KeyOptions{Prefix: "no spaces"}}, "Keys.Prefix"},
		{store, users, tokenauth.Options{Keys: &tokenauth.KeyOptions{Prefix: strings.Repeat("x", 17)}}, "Keys.Prefix"},
		{store, users, tokenauth.Options{Keys: &tokenauth.KeyOptions{Prefix: "tat_"}}, "Keys.Prefix"},
		{store, users, tokenauth.Options{Keys: &tokenauth.KeyOptions{Prefix: "trt_"}, Refresh: new(tokenauth.RefreshOptions)}, "Keys.Prefix"},
		{store, users, tokenauth.Options{Keys: &tokenauth.KeyOptions{Prefix: "tat_12345678"}}, "Keys.Prefix"},
		{store, users, tokenauth.Options{Keys: &tokenauth.KeyOptions{Imported: []string{"sk-", "trt_x"}}, Refresh: new(tokenauth.RefreshOptions)}, "Keys.Imported"},
		{store, users, tokenauth.Options{Keys: &tokenauth.KeyOptions{Max: -1}}, "Keys.Max"},
		{store, users, tokenauth.Options{Keys: &tokenauth.KeyOptions{Max: 10_001}}, "Keys.Max"},
	} {
		if test.o.Keys == nil {
			test.o.Keys = new(tokenauth.KeyOptions)
		}
		if _, err := tokenauth.New(test.s, test.a, &test.o); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("New with %T, %T and %+v: error %v, want one with %q", test.s, test.a, test.o.Keys, err, test.says)
		}
	}
	auth := newService(t, store, users, &tokenauth.Options{Keys: new(tokenauth.KeyOptions)})
	if got := auth.Options().Keys; got == nil || got.Prefix != "key_" || got.Max != 50 || got.Imported != nil {
		t.Errorf("the defaults are %+v", got)
	}
	for _, s := range []*tokenauth.Service{nil, newService(t, store, users, nil)} {
		if keys, err := tokenauth.NewKeys(s); keys != nil || err == nil || !strings.Contains(err.Error(), "Options.Keys") {
			t.Errorf("NewKeys without keys: %v, error %v", keys, err)
		}
	}
}

// A role that the user loses is lost in every key, and comes back with the user's.
func TestKeysHaveOnlyTheRolesOfTheirOwner(t *testing.T) {
	t.Parallel()
	users := newOwners(alice())
	auth, keys := keyed(t, new(memory.Store), users, tokenauth.Options{})
	reader, _ := makeKey(t, keys, alice(), tokenauth.Key{Roles: []string{"Reader"}})
	both, _ := makeKey(t, keys, alice(), tokenauth.Key{Roles: []string{"Staff", "Reader"}})
	all, _ := makeKey(t, keys, alice(), tokenauth.Key{})
	none, _ := makeKey(t, keys, alice(), tokenauth.Key{Roles: []string{}})
	for _, step := range []struct {
		roles                   []string
		reader, both, all, none string
	}{
		{[]string{"Reader", "Staff"}, "Reader", "Staff,Reader", "Reader,Staff", ""},
		{[]string{"Staff"}, "", "Staff", "Staff", ""},
		{[]string{"Administrator"}, "", "", "Administrator", ""},
		{nil, "", "", "", ""},
		{[]string{"Staff", "Reader"}, "Reader", "Staff,Reader", "Staff,Reader", ""},
	} {
		users.setRoles(t, auth, "17", step.roles...)
		for range 2 {
			expectKey(t, keys, reader, step.reader)
			expectKey(t, keys, both, step.both)
			expectKey(t, keys, all, step.all)
			expectKey(t, keys, none, step.none)
		}
		if n := users.asked(); n != 2 {
			t.Errorf("Reload was called %d times for one change, want 2", n)
		}
	}
}

// The record of an owner counts for a day.
func TestOwnersAreLookedUpOnceADay(t *testing.T) {
	t.Parallel()
	var clock tokenauthtest.Clock
	users := newOwners(alice())
	_, keys := keyed(t, new(memory.Store), users, tokenauth.Options{Now: clock.Now})
	key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
	expectKey(t, keys, key, "Reader,Staff")
	users.asked()
	clock.Advance(24*time.Hour - time.Second)
	expectKey(t, keys, key, "Reader,Staff")
	if n := users.asked(); n != 0 {
		t.Errorf("within a day, Reload was called %d times", n)
	}
	clock.Advance(time.Second)
	users.change("17", func(p *tokenauth.Principal) { p.Roles = nil }) // without RevokeUser
	expectKey(t, keys, key, "")
}

func TestKeysOfDisabledUsersAreRefused(t *testing.T) {
	t.Parallel()
	users := newOwners(alice(), bob())
	var refused []tokenauth.Event
	auth, keys := keyed(t, new(memory.Store), users, tokenauth.Options{Observers: []func(context.Context, tokenauth.Event){func(_ context.Context, e tokenauth.Event) {
		if e.Kind == event.Refused {
			refused = append(refused, e)
		}
	}}})
	key, made := makeKey(t, keys, alice(), tokenauth.Key{})
	bobs, _ := makeKey(t, keys, bob(), tokenauth.Key{})
	for range 2 {
		expectKey(t, keys, key, "Reader,Staff")
		users.disable("17", true)
		if err := auth.RevokeUser(t.Context(), "17"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			expectKey(t, keys, key, "invalid")
		}
		expectKey(t, keys, bobs, "")
		users.disable("17", false)
	}
	expectKey(t, keys, key, "Reader,Staff")
	if len(refused) != 4 || refused[0].Key != made.ID || refused[0].UserID != "17" || refused[0].ClientID != "" || refused[0].Reason != event.ReasonInvalid {
		t.Errorf("the events are %+v", refused)
	}
}

// The end of sign-ins keeps keys.
func TestKeysOutliveSignIns(t *testing.T) {
	t.Parallel()
	var clock tokenauthtest.Clock
	store := new(memory.Store)
	users := newOwners(alice())
	auth, keys := keyed(t, store, users, tokenauth.Options{
		Now: clock.Now, Devices: &tokenauth.DeviceOptions{Max: 1}, IdleTimeout: 2 * time.Hour, PurgeInterval: time.Second,
		Refresh: new(tokenauth.RefreshOptions),
	})
	key, _ := makeKey(t, keys, alice(), tokenauth.Key{Name: "ci"})
	expectKey(t, keys, key, "Reader,Staff")
	signIn := func(device string) {
		if _, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{Device: device}); err != nil {
			t.Fatal(err)
		}
		expectKey(t, keys, key, "Reader,Staff")
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
		expectKey(t, keys, key, "Reader,Staff")
	}
	signIn("")
	signIn("phone")
	signIn("tablet")
	users.asked()
	signIn("phone")
	if n := users.asked(); n != 0 {
		t.Errorf("sign-ins ended the record of the owner: Reload was called %d times", n)
	}
	tokens, err := auth.Tokens(t.Context(), "17")
	if len(tokens) != 1 || tokens[0].Device != "phone" {
		t.Errorf("listed the sign-ins %v, want one on the phone", tokens)
	}
	check(err)
	check(auth.RevokeUser(t.Context(), "17", tokens[0]))
	if left, _ := auth.Tokens(t.Context(), "17"); len(left) != 1 {
		t.Errorf("RevokeUser with a token to keep left %v", left)
	}
	check(auth.RevokeUser(t.Context(), "17"))
	token, _ := keys.Validate(t.Context(), key)
	check(auth.RevokeUser(t.Context(), "17", token)) // of a request with the key
	for _, client := range []string{"", "\x01key", "web"} {
		check(auth.RevokeClient(t.Context(), client))
	}
	ended, err := store.RevokeUnused(t.Context(), clock.Now().Add(time.Hour)) // as Run does
	if ended != 0 {
		t.Errorf("%d tokens ended as idle", ended)
	}
	check(err)
	clock.Advance(1000 * 24 * time.Hour)
	if _, err := auth.Purge(t.Context()); err != nil {
		t.Error(err)
	}
	expectKey(t, keys, key, "Reader,Staff")
	if _, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{ClientID: "\x01key"}); !errors.Is(err, tokenauth.ErrInvalidPrincipal) {
		t.Errorf("a sign-in at the client of keys: error %v", err)
	}
	if err := auth.RevokeAll(t.Context()); err != nil {
		t.Error(err)
	}
	expectKey(t, keys, key, "invalid")
}

func TestKeysExpire(t *testing.T) {
	t.Parallel()
	var clock tokenauthtest.Clock
	users := newOwners(alice())
	_, keys := keyed(t, new(memory.Store), users, tokenauth.Options{Now: clock.Now, Keys: &tokenauth.KeyOptions{Max: 1}})
	key, made := makeKey(t, keys, alice(), tokenauth.Key{ExpiresAt: clock.Now().Add(time.Hour)})
	clock.Advance(time.Hour - time.Second)
	expectKey(t, keys, key, "Reader,Staff")
	if _, _, err := keys.Create(t.Context(), tokenauth.Token{Principal: alice()}, tokenauth.Key{}); err != tokenauth.ErrTooManyKeys {
		t.Errorf("error %v, want ErrTooManyKeys", err)
	}
	clock.Advance(time.Second)
	expectKey(t, keys, key, "invalid expired")
	if list, err := keys.List(t.Context(), "17"); len(list) != 0 || err != nil {
		t.Errorf("listed %v, error %v, want no expired key", list, err)
	}
	if err := keys.Revoke(t.Context(), "17", made.ID); err != tokenauth.ErrNotFound {
		t.Errorf("Revoke of an expired key returned error %v", err)
	}
	makeKey(t, keys, alice(), tokenauth.Key{}) // an expired key does not count
}

func TestConcurrentCreatesKeepTheBound(t *testing.T) {
	t.Parallel()
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			const most, calls = 5, 20
			store := new(scripted)
			store.before = func(_ context.Context, method string) error {
				if method == "Replace" { // all calls list before the first one stores
					time.Sleep(time.Millisecond)
				}
				return nil
			}
			var replicas []*tokenauth.Keys
			for range 2 {
				_, keys := keyed(t, store, newOwners(alice()), tokenauth.Options{Keys: &tokenauth.KeyOptions{Max: most}})
				replicas = append(replicas, keys)
			}
			makeKey(t, replicas[0], alice(), tokenauth.Key{})
			var made atomic.Int32
			var wg sync.WaitGroup
			for i := range calls {
				wg.Go(func() {
					_, _, err := replicas[i%2].Create(t.Context(), tokenauth.Token{Principal: alice()}, tokenauth.Key{})
					switch err {
					case nil:
						made.Add(1)
					case tokenauth.ErrTooManyKeys:
					default:
						t.Errorf("Create: %v", err)
					}
				})
			}
			wg.Wait()
			list, err := replicas[0].List(t.Context(), "17")
			if err != nil || len(list) > most || len(list) != int(made.Load())+1 {
				t.Errorf("there are %d keys, error %v; %d were made, and at most %d are allowed", len(list), err, made.Load()+1, most)
			}
			if len(list) == 1 {
				t.Error("all calls gave up, want some to succeed")
			}
		})
	}
}

// A failure is never a 401, and a later request succeeds.
func TestFailuresDoNotRefuseKeys(t *testing.T) {
	t.Parallel()
	store := new(scripted)
	users := newOwners(alice())
	auth, keys := keyed(t, store, users, tokenauth.Options{})
	key, made := makeKey(t, keys, alice(), tokenauth.Key{})
	guard := tokenauth.Requirement{Keys: true}.Guard(auth)
	down := errors.New("the storage is down")
	renew := func() {
		if err := store.Store.RevokeUser(t.Context(), tokenauth.UserKeyOf("17")); err != nil {
			t.Fatal(err)
		}
	}
	for _, method := range []string{"Find", "Replace"} {
		renew()
		store.onCall(func(_ context.Context, called string) error {
			if called == method {
				return down
			}
			return nil
		})
		if status, _ := with(guard, key); status != 503 {
			t.Errorf("%s failed: the status is %d, want 503", method, status)
		}
		store.onCall(nil)
	}
	renew()
	users.fail(errors.New("no database"))
	if status, _ := with(guard, key); status != 503 {
		t.Errorf("Reload failed: the status is %d, want 503", status)
	}
	expectKey(t, keys, key, "unavailable")
	if _, _, err := keys.Create(t.Context(), tokenauth.Token{Principal: alice()}, tokenauth.Key{}); !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("Create returned error %v, want ErrUnavailable", err)
	}
	users.fail(nil)
	if status, body := with(guard, key); status != 200 || body != "alice "+made.ID+" [Reader Staff]" {
		t.Errorf("afterwards the answer is %d %s", status, body)
	}
	store.onCall(func(context.Context, string) error { return down })
	if err := keys.Revoke(t.Context(), "17", made.ID); !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("Revoke returned error %v, want ErrUnavailable", err)
	}
	if err := keys.RevokeAll(t.Context(), "17"); !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("RevokeAll returned error %v, want ErrUnavailable", err)
	}
	store.onCall(nil)
	if list, err := keys.List(t.Context(), "17"); err != nil || len(list) != 1 {
		t.Errorf("there are the keys %v, error %v, want one", list, err)
	}
}

// Guards refuse keys, unless they set Requirement.Keys.
func TestGuardsRefuseKeysByDefault(t *testing.T) {
	t.Parallel()
	var events []tokenauth.Event
	auth, keys := keyed(t, new(memory.Store), newOwners(alice()), tokenauth.Options{Observers: []func(context.Context, tokenauth.Event){func(_ context.Context, e tokenauth.Event) {
		events = append(events, e)
	}}})
	key, made := makeKey(t, keys, alice(), tokenauth.Key{Roles: []string{"Reader"}})
	signIn := issue(t, auth, alice(), "")
	for _, test := range []struct {
		name        string
		q           tokenauth.Requirement
		key, signIn int
	}{
		{"sign-ins only", tokenauth.Requirement{}, 403, 200},
		{"keys, too", tokenauth.Requirement{Keys: true}, 200, 200},
		{"a role, sign-ins only", tokenauth.Requirement{Roles: []string{"Reader"}}, 403, 200},
		{"a role of the key", tokenauth.Requirement{Roles: []string{"Reader"}, Keys: true}, 200, 200},
		{"a role of the user only", tokenauth.Requirement{Roles: []string{"Staff"}, Keys: true}, 403, 200},
		{"a client", tokenauth.Requirement{Clients: []string{"\x01key"}, Keys: true}, 403, 403},
		{"guests", tokenauth.Requirement{Guests: true}, 403, 200},
		{"guests and keys", tokenauth.Requirement{Guests: true, Keys: true}, 200, 200},
		{"optional", tokenauth.Requirement{Optional: true}, 403, 200},
		{"optional and keys", tokenauth.Requirement{Optional: true, Keys: true}, 200, 200},
	} {
		guard := test.q.Guard(auth)
		if status, body := with(guard, key); status != test.key || status == 200 && body != "alice "+made.ID+" [Reader]" {
			t.Errorf("%s: a key got %d %s, want %d", test.name, status, body, test.key)
		}
		if status, body := with(guard, signIn); status != test.signIn || status == 200 && body != "alice  [Reader Staff]" {
			t.Errorf("%s: a sign-in got %d %s, want %d", test.name, status, body, test.signIn)
		}
	}
	for _, e := range events {
		if e.Kind == event.Validated && (e.Reason == event.ReasonKey) != (e.Key == made.ID) {
			t.Errorf("the event %+v", e)
		}
	}
	events = nil
	status, body := with(auth.RequireBearer, key)
	if status != 403 || body != `{"error":"insufficient_scope","error_description":"An API key may not do this.","Message":"Authorization has been denied for this request."}` {
		t.Errorf("the answer is %d %s", status, body)
	}
	last := events[len(events)-1]
	if last.Kind != event.Refused || last.Reason != event.ReasonKey || last.Key != made.ID || last.UserID != "17" {
		t.Errorf("the event is %+v", last)
	}
	expect(t, auth, key, "invalid") // Service.Validate is for sign-ins
}

// A second guard neither looks the key up again nor forgets that it is one.
func TestNestedGuardsValidateAKeyOnce(t *testing.T) {
	t.Parallel()
	store := &fedStore{}
	auth, keys := keyed(t, store, newOwners(alice()), tokenauth.Options{})
	key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
	expectKey(t, keys, key, "Reader,Staff")
	admits := tokenauth.Requirement{Keys: true}.Guard(auth)
	roles := tokenauth.Requirement{Keys: true, Roles: []string{"Reader"}}.Guard(auth)
	store.asked()
	if status, _ := with(func(h http.Handler) http.Handler { return admits(roles(h)) }, key); status != 200 || store.asked() != 2 {
		t.Errorf("two guards answered %d, or read more than the key and its owner", status)
	}
	if status, _ := with(func(h http.Handler) http.Handler { return admits(auth.RequireBearer(h)) }, key); status != 403 {
		t.Errorf("a second guard without Keys answered %d, want 403", status)
	}
}

// Keys are refused where they do not belong.
func TestKeysAreRefusedElsewhere(t *testing.T) {
	t.Parallel()
	asked := 0
	auth, keys := keyed(t, new(memory.Store), newOwners(alice()), tokenauth.Options{
		Refresh: new(tokenauth.RefreshOptions),
		Places:  []place.Place{place.Scheme("Bearer"), place.Cookie{Name: "session"}},
		Fallback: func(*http.Request) (tokenauth.Principal, error) {
			asked++
			return bob(), nil
		},
	})
	key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
	guard := tokenauth.Requirement{Keys: true}.Guard(auth)
	for _, text := range []string{key, "sk-", "sk-garbage"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: text})
		w := httptest.NewRecorder()
		guard(http.NotFoundHandler()).ServeHTTP(w, r)
		if w.Code != 401 || !strings.Contains(w.Body.String(), "invalid_token") {
			t.Errorf("in the cookie, %s got %d %s, want 401", text, w.Code, w.Body)
		}
	}
	for _, text := range []string{"sk-", "sk-garbage", garbled(key), key + "A"} {
		if status, _ := with(guard, text); status != 401 {
			t.Errorf("%s got %d, want 401", text, status)
		}
	}
	if asked != 0 {
		t.Errorf("the Fallback was asked about keys %d times", asked)
	}
	for _, form := range []string{"grant_type=refresh_token&refresh_token=" + key, "grant_type=password&username=alice&password=" + key + "x&refresh_token=" + key} {
		r := httptest.NewRequest("POST", "/Token", strings.NewReader(form))
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		auth.TokenHandler().ServeHTTP(w, r)
		if strings.Contains(form, "grant_type=refresh_token") && w.Code != 400 || strings.Contains(w.Body.String(), key) {
			t.Errorf("/Token answered %d %s", w.Code, w.Body)
		}
	}
	if _, err := auth.Refresh(t.Context(), tokenauth.Credentials{RefreshToken: tokenauth.NewSecret(key)}); !errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Errorf("Refresh with a key returned error %v", err)
	}
}

// Garbage causes no look-up, neither of a token nor of a user.
func TestGarbageKeysAreNotLookedUp(t *testing.T) {
	t.Parallel()
	store := new(scripted)
	users := newOwners(alice())
	auth, keys := keyed(t, store, users, tokenauth.Options{})
	key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
	users.asked()
	store.onCall(func(_ context.Context, method string) error {
		t.Errorf("the storage got a call of %s", method)
		return nil
	})
	guard := tokenauth.Requirement{Keys: true}.Guard(auth)
	changed := []byte(key)
	for i, was := range []byte(key) {
		if changed[i] = 'A'; was == 'A' {
			changed[i] = 'B'
		}
		if status, _ := with(guard, string(changed)); status != 401 {
			t.Errorf("%s got %d, want 401", changed, status)
		}
		expectKey(t, keys, string(changed), "invalid")
		changed[i] = was
	}
	if n := users.asked(); n != 0 {
		t.Errorf("Reload was called %d times", n)
	}
	store.onCall(nil)
	// A key of the right form that is not stored costs one look-up, and none of the user.
	_, other := keyed(t, new(memory.Store), users, tokenauth.Options{})
	foreign, _ := makeKey(t, other, alice(), tokenauth.Key{})
	users.asked()
	expectKey(t, keys, foreign, "invalid")
	if n := users.asked(); n != 0 {
		t.Errorf("an unknown key made %d calls of Reload", n)
	}
}

// A change of the user between the look-ups of Reload is never lost: neither one that is
// committed and then ends the sign-ins, nor one whose revocation comes before the
// record of the owner is stored or counts.
func TestChangesDuringTheLookUpOfTheOwnerAreNotLost(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"Reload 1", "Replace", "stored", "Reload 2", "RecordUses"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			store := &watchedStore{}
			users := newOwners(alice())
			auth, keys := keyed(t, store, users, tokenauth.Options{})
			other, _ := keyed(t, &store.Store, users, tokenauth.Options{}) // another replica
			key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
			var once sync.Once
			change := func(now string) {
				if now == at {
					once.Do(func() { users.setRoles(t, other, "17", "Reader") })
				}
			}
			reloads := 0
			users.setDuring(func(int) { reloads++; change(fmt.Sprint("Reload ", reloads)) })
			store.onCall(func(_ context.Context, method string) error { change(method); return nil })
			store.stored = func() { change("stored") }
			store.recorded = func() { change("RecordUses") }

			token, err := keys.Validate(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if len(token.Principal.Roles) != 1 && at != "Reload 2" && at != "RecordUses" { // the request began before these
				t.Errorf("the key has the roles %v", token.Principal.Roles)
			}
			expectKey(t, keys, key, "Reader") // from the next request on
			for _, replica := range []*tokenauth.Service{auth, other} {
				again, err := tokenauth.NewKeys(replica)
				if err != nil {
					t.Fatal(err)
				}
				expectKey(t, again, key, "Reader")
			}
		})
	}
}

// A transaction may change the user and end the sign-ins, and then take long to commit.
// The look-up of the owner waits for it, as a sign-in does.
func TestOpenTransactionsAreNotMissed(t *testing.T) {
	t.Parallel()
	store, users := new(scripted), newOwners(alice())
	_, keys := keyed(t, store, users, tokenauth.Options{})
	key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
	store.stored = func() { // the transaction has ended the sign-ins, but not this record
		store.stored = nil
		users.commit = func() {
			users.change("17", func(p *tokenauth.Principal) { p.Roles, p.Stamp = []string{"Reader"}, "stamp-2" })
		}
	}
	expectKey(t, keys, key, "Reader")
	expectKey(t, keys, key, "Reader")
}

// A watchedStore calls a func before RecordUses.
type watchedStore struct {
	scripted
	recorded func()
}

func (r *watchedStore) RecordUses(ctx context.Context, uses []tokenauth.Use) error {
	if r.recorded != nil {
		r.recorded()
	}
	return r.Store.RecordUses(ctx, uses)
}

// While one request looks an owner up, no other request relies on what it found.
func TestUnconfirmedOwnersDoNotCount(t *testing.T) {
	t.Parallel()
	store := new(scripted)
	users := newOwners(alice())
	_, keys := keyed(t, store, users, tokenauth.Options{})
	key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
	// The request dies after it stored the record.
	store.stored = func() { users.fail(errors.New("the process died")) }
	expectKey(t, keys, key, "unavailable")
	store.stored = nil
	users.fail(nil)
	users.change("17", func(p *tokenauth.Principal) { p.Roles = []string{"Reader"} })
	if err := store.Store.RevokeUser(t.Context(), tokenauth.UserKeyOf("99")); err != nil {
		t.Fatal(err)
	}
	expectKey(t, keys, key, "Reader")
}

// Requests share look-ups of an owner, but never one that began before them.
func TestRequestsShareTheLookUpOfAnOwner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		users := newOwners(alice())
		_, keys := keyed(t, new(memory.Store), users, tokenauth.Options{})
		key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
		users.asked()
		users.during = func(int) { time.Sleep(time.Second) }
		users.disable("17", true)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, err := keys.Validate(t.Context(), key); err != nil && !errors.Is(err, tokenauth.ErrInvalidToken) {
					t.Errorf("Validate: %v", err)
				}
			})
		}
		synctest.Wait()
		users.disable("17", false)
		for range 100 { // these come later, so they must see the change
			wg.Go(func() { expectKey(t, keys, key, "Reader,Staff") })
		}
		synctest.Wait()
		wg.Wait()
		if n := users.asked(); n > 8 {
			t.Errorf("Reload was called %d times for 200 requests", n)
		}
	})
}

// The record of the owner is not a sign-in.
func TestTheRecordOfAnOwnerIsHidden(t *testing.T) {
	t.Parallel()
	store := new(memory.Store)
	users := newOwners(alice())
	var events []tokenauth.Event
	auth, keys := keyed(t, store, users, tokenauth.Options{Devices: &tokenauth.DeviceOptions{Max: 1}, Observers: []func(context.Context, tokenauth.Event){func(_ context.Context, e tokenauth.Event) {
		events = append(events, e)
	}}})
	without := newService(t, store, users, &tokenauth.Options{Devices: new(tokenauth.DeviceOptions)}) // a replica without keys
	key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
	expectKey(t, keys, key, "Reader,Staff")
	stored, err := store.List(t.Context(), tokenauth.UserKeyOf("17"))
	if err != nil || len(stored) != 1 {
		t.Fatalf("stored %v, error %v, want the record", stored, err)
	}
	for _, s := range []*tokenauth.Service{auth, without} {
		if tokens, err := s.Tokens(t.Context(), "17"); len(tokens) != 0 || err != nil {
			t.Errorf("listed %v, error %v, want no sign-in", tokens, err)
		}
		if err := s.RevokeDevice(t.Context(), "17", stored[0].SlotID()); err != tokenauth.ErrNotFound {
			t.Errorf("RevokeDevice returned error %v, want ErrNotFound", err)
		}
	}
	events = nil
	token, err := keys.Validate(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := auth.RevokeDevice(t.Context(), "17", token.SlotID()); err != tokenauth.ErrNotFound {
		t.Errorf("RevokeDevice of a key returned error %v, want ErrNotFound", err)
	}
	signIn := issue(t, auth, alice(), "")
	if err := auth.RevokeUser(t.Context(), "17", tokenOf(t, auth, signIn)); err != nil {
		t.Error(err)
	}
	expect(t, auth, signIn, "valid")
	if stored, _ := store.List(t.Context(), tokenauth.UserKeyOf("17")); len(stored) != 1 {
		t.Errorf("signing out elsewhere left %d tokens, want the sign-in", len(stored))
	}
	for _, e := range events {
		if e.Kind == event.Revoked && e.Reason != event.ReasonUser {
			t.Errorf("the event %+v is about the record", e)
		}
	}
}

func tokenOf(t testing.TB, auth *tokenauth.Service, accessToken string) tokenauth.Token {
	t.Helper()
	token, err := auth.Validate(t.Context(), accessToken)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// A Service without Options.Keys treats keys as unknown tokens, and keeps them.
func TestReplicaWithoutKeys(t *testing.T) {
	t.Parallel()
	store := new(memory.Store)
	users := newOwners(alice())
	auth, keys := keyed(t, store, users, tokenauth.Options{})
	without := newService(t, store, users, nil)
	key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
	expectKey(t, keys, key, "Reader,Staff")
	if status, _ := with(tokenauth.Requirement{Keys: true}.Guard(without), key); status != 401 {
		t.Errorf("the replica without keys answers %d, want 401", status)
	}
	expect(t, without, key, "invalid")
	if err := without.Revoke(t.Context(), key); err != nil {
		t.Error(err)
	}
	expectKey(t, keys, key, "Reader,Staff")
	issue(t, without, alice(), "")
	expectKey(t, keys, key, "Reader,Staff")
	users.setRoles(t, without, "17", "Reader") // ends the record, too
	expectKey(t, keys, key, "Reader")
	if status, _ := with(tokenauth.Requirement{Keys: true}.Guard(auth), key); status != 200 {
		t.Errorf("the replica with keys answers %d, want 200", status)
	}
}

// A key cannot be extended, but a handler that extends every token gets no error.
func TestExtendDoesNotChangeKeys(t *testing.T) {
	t.Parallel()
	auth, keys := keyed(t, new(memory.Store), newOwners(alice()), tokenauth.Options{MaxLifetime: 100 * 24 * time.Hour})
	key, made := makeKey(t, keys, alice(), tokenauth.Key{ExpiresAt: time.Now().Add(time.Hour)})
	token, err := keys.Validate(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	extended, err := auth.Extend(t.Context(), token)
	if err != nil || extended.Key != made.ID || !extended.ExpiresAt.Equal(made.ExpiresAt) || !slices.Equal(extended.Principal.Roles, []string{"Reader", "Staff"}) {
		t.Errorf("extended to %+v, error %v", extended, err)
	}
}

// The time of the last use is recorded, accurate to an hour.
func TestUsesOfKeysAreRecorded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := new(memory.Store)
		auth, keys := keyed(t, store, newOwners(alice()), tokenauth.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { auth.Run(ctx) })
		key, made := makeKey(t, keys, alice(), tokenauth.Key{})
		makeKey(t, keys, alice(), tokenauth.Key{})
		signIn := issue(t, auth, alice(), "")
		seen := func() time.Time {
			list, err := keys.List(t.Context(), "17")
			if err != nil || len(list) != 2 || !list[0].LastSeen.IsZero() {
				t.Fatalf("listed %v, error %v, want one key that was not used", list, err)
			}
			return list[1].LastSeen
		}
		expectKey(t, keys, key, "Reader,Staff")
		time.Sleep(2 * time.Minute)
		if got := seen(); got.Before(made.CreatedAt) || time.Since(got) > time.Hour {
			t.Errorf("last seen at %v, want within the hour before %v", got, time.Now())
		}
		time.Sleep(50 * time.Hour)
		expectKey(t, keys, key, "Reader,Staff")
		expect(t, auth, signIn, "valid")
		time.Sleep(2 * time.Minute)
		if got := seen(); time.Since(got) > time.Hour+2*time.Minute {
			t.Errorf("last seen at %v, want within the hour before %v", got, time.Now())
		}
		if tokens, err := auth.Tokens(t.Context(), "17"); err != nil || len(tokens) != 1 || !tokens[0].LastSeen.IsZero() {
			t.Errorf("the sign-ins are %v, error %v, want no uses of them recorded", tokens, err)
		}
		cancel()
		wg.Wait()
	})
}

// A queuedOwners is an outbox that is also a Reloader.
type queuedOwners struct{ outbox }

func (q *queuedOwners) Reload(_ context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	now := q.principal(p.UserID)
	if p.Stamp != "" && p.Stamp != now.Stamp {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	now.Roles = []string{"role " + now.Stamp}
	return now, nil
}

// A change that is in a queue ends the record of the owner, which is not an event, and
// keeps the keys.
func TestQueuedChangesReachKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		users, store := new(queuedOwners), new(memory.Store)
		users.stamps = map[string]string{"alice": "0"}
		var mu sync.Mutex
		var revoked []tokenauth.Event
		auth, keys := keyed(t, store, users, tokenauth.Options{Observers: []func(context.Context, tokenauth.Event){func(_ context.Context, e tokenauth.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == event.Revoked {
				revoked = append(revoked, e)
			}
		}}})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { auth.Run(ctx) })
		key, _ := makeKey(t, keys, users.principal("alice"), tokenauth.Key{})
		expectKey(t, keys, key, "role 0")
		signIn := issue(t, auth, users.principal("alice"), "")
		users.change("alice", "")
		time.Sleep(time.Second)
		expect(t, auth, signIn, "invalid")
		expectKey(t, keys, key, "role 1")
		users.change("alice", "")
		time.Sleep(time.Second)
		expectKey(t, keys, key, "role 2")
		cancel()
		wg.Wait()
		if len(revoked) != 1 || revoked[0].Digest == (tokenauth.Digest{}) || revoked[0].Key != "" {
			t.Errorf("the events are %+v, want one, for the sign-in", revoked)
		}
	})
}

// Without a Renamer, only Rename fails.
func TestRenameNeedsARenamer(t *testing.T) {
	t.Parallel()
	store := new(memory.Store)
	_, keys := keyed(t, struct {
		tokenauth.Storage
		tokenauth.Lister
		tokenauth.UseRecorder
	}{store, store, store}, newOwners(alice()), tokenauth.Options{})
	key, made := makeKey(t, keys, alice(), tokenauth.Key{})
	if err := keys.Rename(t.Context(), "17", made.ID, "x"); !errors.Is(err, tokenauth.ErrUnavailable) || !strings.Contains(err.Error(), "is not a Renamer") {
		t.Errorf("Rename returned error %v", err)
	}
	expectKey(t, keys, key, "Reader,Staff")
}

// A sign-in without roles and a stamp is not taken for the owner of a key: Reload gets a
// list of roles that is not nil.
func TestReloadDistinguishesSignInsFromKeys(t *testing.T) {
	t.Parallel()
	users := new(seenReloads)
	auth, keys := keyed(t, new(memory.Store), users, tokenauth.Options{Refresh: new(tokenauth.RefreshOptions)})
	plain := tokenauth.Principal{UserID: "17", UserName: "alice"}
	issued, err := auth.Issue(t.Context(), plain, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := auth.Refresh(t.Context(), tokenauth.Credentials{RefreshToken: issued.RefreshToken}); err != nil {
		t.Fatal(err)
	}
	if len(users.seen) != 1 || users.seen[0].Roles == nil {
		t.Errorf("for a sign-in, Reload got %+v", users.seen)
	}
	users.seen = nil
	key, _ := makeKey(t, keys, alice(), tokenauth.Key{Attributes: map[string]string{"project": "7"}})
	if _, err := keys.Validate(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	for _, p := range users.seen {
		if p.Roles != nil || p.Attributes != nil || p.Stamp != "" || p.UserID != "17" || p.UserName != "alice" {
			t.Errorf("for a key, Reload got %+v", p)
		}
	}
}

// seenReloads records the principals that Reload got.
type seenReloads struct {
	staff
	seen []tokenauth.Principal
}

func (s *seenReloads) Reload(_ context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	s.seen = append(s.seen, p)
	return alice(), nil
}

// If the clock of one replica was wrong, its key is the newest of the list until then. But
// other replicas do not take over its time.
func TestAWrongClockDoesNotMoveTheTimeOfLaterKeys(t *testing.T) {
	t.Parallel()
	store, users := new(memory.Store), newOwners(alice())
	var clock, wrong tokenauthtest.Clock
	wrong.Advance(40 * 24 * time.Hour)
	_, keys := keyed(t, store, users, tokenauth.Options{Now: clock.Now})
	_, others := keyed(t, store, users, tokenauth.Options{Now: wrong.Now})
	makeKey(t, others, alice(), tokenauth.Key{Name: "wrong"})
	for range 3 {
		_, made := makeKey(t, keys, alice(), tokenauth.Key{Name: "right"})
		if ahead := made.CreatedAt.Sub(clock.Now()); ahead > time.Minute {
			t.Errorf("the new key was made %v in the future", ahead)
		}
	}
	list, err := keys.List(t.Context(), "17")
	if err != nil || len(list) != 4 || list[0].Name != "wrong" {
		t.Errorf("the list is %+v, error %v", list, err)
	}
}
