package tokenauth_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func TestNewTokenReplacesThePreviousOne(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, nil)
	signIn := func() string {
		grant, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		return grant.AccessToken.Reveal()
	}
	// Tokens of SignIn and of Issue replace each other.
	first, second := signIn(), issue(t, auth, alice(), "")
	expect(t, auth, first, "invalid replaced")
	expect(t, auth, second, "valid")
	third := signIn()
	expect(t, auth, first, "invalid") // the storage remembers only the last replaced token
	expect(t, auth, second, "invalid replaced")
	expect(t, auth, third, "valid")
}

func TestTokensOfOtherSlotsStayValid(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, nil)
	web, mobile := issue(t, auth, alice(), "web"), issue(t, auth, alice(), "mobile")
	other := issue(t, auth, bob(), "web")
	// The slot of user "web" at client "17" differs from that of user "17" at
	// client "web".
	odd := issue(t, auth, tokenauth.Principal{UserID: "web"}, "17")
	newer := issue(t, auth, alice(), "web")
	expect(t, auth, web, "invalid replaced")
	for _, accessToken := range []string{mobile, other, odd, newer} {
		expect(t, auth, accessToken, "valid")
	}
	if err := auth.Revoke(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	expect(t, auth, newer, "invalid")
	for _, accessToken := range []string{mobile, other, odd} {
		expect(t, auth, accessToken, "valid")
	}
}

func TestIssuedTokenEqualsTheStoredOne(t *testing.T) {
	t.Parallel()
	storage := new(memory.Store)
	now := time.Date(2020, 9, 13, 11, 35, 33, 999_999_999, time.FixedZone("CEST", 2*60*60))
	auth := newService(t, storage, &staff{}, &tokenauth.Options{
		Lifetime: time.Hour, Prefix: "acme_", Now: func() time.Time { return now },
	})
	grant, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{ClientID: "web"})
	if err != nil {
		t.Fatal(err)
	}
	accessToken, got := grant.AccessToken.Reveal(), grant.Token
	issued := time.Date(2020, 9, 13, 9, 35, 33, 0, time.UTC)
	if !strings.HasPrefix(accessToken, "acme_") || len(accessToken) != 97 {
		t.Errorf("the access token is %q, want the prefix tat_", accessToken)
	}
	if got.Slot != tokenauth.SlotOf("17", "web") || got.ClientID != "web" || got.Digest != sha256.Sum256([]byte(accessToken)) || !got.Replaced.IsZero() {
		t.Errorf("the issued token is for %+v", got)
	}
	if got.IssuedAt != issued || got.ExpiresAt != issued.Add(time.Hour) {
		t.Errorf("valid from %v to %v", got.IssuedAt, got.ExpiresAt)
	}
	stored, err := storage.Find(t.Context(), got.Slot)
	validated, err2 := auth.Validate(t.Context(), accessToken)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]tokenauth.Token{"stored": stored, "validated": validated} {
		if fmt.Sprint(token) != fmt.Sprint(got) {
			t.Errorf("%s: %+v, want %+v", name, token, got)
		}
	}
	if strings.Contains(fmt.Sprintf("%+v", stored), accessToken[5:]) {
		t.Error("the access token is stored, want only its digest")
	}
}

func TestTokenIsValidUntilItExpires(t *testing.T) {
	t.Parallel()
	issued := time.Date(2020, 9, 13, 9, 35, 33, 0, time.UTC)
	now := issued
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Lifetime: time.Minute, Now: func() time.Time { return now }})
	old := issue(t, auth, alice(), "")
	accessToken := issue(t, auth, alice(), "")
	for _, step := range []struct {
		at   time.Duration
		want string
	}{{0, "valid"}, {time.Minute - 1, "valid"}, {time.Minute, "invalid expired"}, {time.Hour, "invalid expired"}} {
		now = issued.Add(step.at)
		expect(t, auth, accessToken, step.want)
		expect(t, auth, old, "invalid replaced")
	}
	stranger := newService(t, new(memory.Store), &staff{}, nil)
	expect(t, stranger, accessToken, "invalid") // only the exact token is reported as expired
}

func TestRevokeEndsOneTokenAndIsIdempotent(t *testing.T) {
	t.Parallel()
	storage := new(scripted)
	auth := newService(t, storage, &staff{}, nil)
	old := issue(t, auth, alice(), "")
	newer := issue(t, auth, alice(), "")
	stranger := issue(t, newService(t, new(memory.Store), &staff{}, nil), alice(), "")
	for _, accessToken := range []string{old, old, stranger, "", "nonsense", newer[:95], newer + "\n"} {
		if err := auth.Revoke(t.Context(), accessToken); err != nil {
			t.Errorf("Revoke of %q: error %v, want none", accessToken, err)
		}
		expect(t, auth, newer, "valid")
	}
	for range 2 {
		if err := auth.Revoke(t.Context(), newer); err != nil {
			t.Error(err)
		}
		expect(t, auth, newer, "invalid")
		expect(t, auth, old, "invalid")
	}
	if storage.holds() {
		t.Error("the slot is not empty")
	}
	expect(t, auth, issue(t, auth, alice(), ""), "valid") // the user can get a new token
}

func TestRevokeUserEndsAllTokensOfTheUser(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, nil)
	web, mobile, other := issue(t, auth, alice(), "web"), issue(t, auth, alice(), "mobile"), issue(t, auth, bob(), "web")
	for range 2 {
		if err := auth.RevokeUser(t.Context(), "17"); err != nil {
			t.Error(err)
		}
		expect(t, auth, web, "invalid")
		expect(t, auth, mobile, "invalid")
		expect(t, auth, other, "valid")
	}
	if err := auth.RevokeUser(t.Context(), "nobody"); err != nil {
		t.Error(err)
	}
	expect(t, auth, issue(t, auth, alice(), "web"), "valid")
}

// Purge keeps a token for a day after it expired, in case the clock is ahead.
func TestPurgeKeepsTokensForADayAfterExpiry(t *testing.T) {
	t.Parallel()
	issued := time.Date(2020, 9, 13, 9, 35, 33, 0, time.UTC)
	now := issued
	storage := new(scripted)
	auth := newService(t, storage, &staff{}, &tokenauth.Options{Lifetime: time.Hour, Now: func() time.Time { return now }})
	accessToken := issue(t, auth, alice(), "")
	for _, step := range []struct {
		after   time.Duration
		removed int64
		want    string
	}{
		{0, 0, "valid"},
		{time.Hour, 0, "invalid expired"},
		{25 * time.Hour, 0, "invalid expired"},
		{25*time.Hour + 1, 1, "invalid"},
		{50 * time.Hour, 0, "invalid"},
	} {
		now = issued.Add(step.after)
		if removed, err := auth.Purge(t.Context()); removed != step.removed || err != nil {
			t.Errorf("after %v: removed %d, error %v; want %d", step.after, removed, err, step.removed)
		}
		expect(t, auth, accessToken, step.want)
	}
	// A storage without Purge removes expired tokens itself.
	if removed, err := newService(t, struct{ tokenauth.Storage }{storage}, &staff{}, nil).Purge(t.Context()); removed != 0 || err != nil {
		t.Errorf("without Purger: removed %d, error %v", removed, err)
	}
}

func TestRunPurgesUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var purges []time.Duration
		failing := errors.New("connection refused")
		storage := &scripted{before: func(_ context.Context, method string) error {
			if method != "Purge" {
				return nil
			}
			purges = append(purges, time.Since(start))
			if len(purges) == 2 {
				return failing
			}
			return nil
		}}
		logger, log := logInto()
		auth := newService(t, storage, &staff{}, &tokenauth.Options{PurgeInterval: 10 * time.Minute, Logger: logger})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- auth.Run(ctx) }()

		time.Sleep(25 * time.Minute)
		synctest.Wait()
		if want := []time.Duration{0, 10 * time.Minute, 20 * time.Minute}; !slices.Equal(purges, want) {
			t.Errorf("purges came after %v, want %v", purges, want)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(start); took != 25*time.Minute {
			t.Errorf("Run ended after %v", took)
		}
		if got := log.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, failing.Error()) {
			t.Errorf("logged %s, want one error with the cause", got)
		}
		if err := auth.Run(ctx); err != nil || strings.Count(log.String(), "level=ERROR") != 1 {
			t.Errorf("Run with an ended context: error %v, logged %s", err, log)
		}
	})
}
