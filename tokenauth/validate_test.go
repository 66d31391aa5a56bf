package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// ErrNotFound and ErrCorrupt refuse the token. Any other error of Find is
// ErrUnavailable, which neither accepts nor refuses it.
func TestStorageErrorsAreNotRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, want string
		err        error
		logged     bool
	}{
		{"not found", "invalid", tokenauth.ErrNotFound, false},
		{"not found, wrapped", "invalid", fmt.Errorf("row: %w", tokenauth.ErrNotFound), false},
		{"corrupt", "invalid", tokenauth.ErrCorrupt, true},
		{"corrupt, wrapped", "invalid", fmt.Errorf("roles: %w", tokenauth.ErrCorrupt), true},
		{"refused connection", "unavailable", errors.New("connection refused"), true},
		{"cancelled", "unavailable", context.Canceled, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			storage := new(scripted)
			logger, log := logInto()
			auth := newService(t, storage, &staff{}, &tokenauth.Options{Logger: logger})
			accessToken := issue(t, auth, alice(), "")
			storage.before = func(context.Context, string) error { return test.err }
			log.Reset()
			expect(t, auth, accessToken, test.want)
			if _, err := auth.Validate(t.Context(), accessToken); test.want == "unavailable" && !errors.Is(err, test.err) {
				t.Errorf("the error does not wrap the cause: %v", err)
			}
			got := log.String()
			if logged := strings.Contains(got, "level=ERROR"); logged != test.logged {
				t.Errorf("logged an error: %v, want %v: %s", logged, test.logged, got)
			}
			if strings.Contains(got, accessToken) || test.logged && !strings.Contains(got, test.err.Error()) {
				t.Errorf("the log lacks the cause or contains the token: %s", got)
			}
			storage.before = nil
			expect(t, auth, accessToken, "valid")
		})
	}
}

// Some drivers have returned the row of another request after a context was
// cancelled. Validate must not accept that row.
func TestRowOfAnotherTokenIsRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, want string
		found      func(*tokenauth.Token)
	}{
		{"as stored", "valid", func(*tokenauth.Token) {}},
		{"another user's slot", "unavailable", func(t *tokenauth.Token) { t.Slot = tokenauth.SlotOf("18", "") }},
		{"another client's slot", "unavailable", func(t *tokenauth.Token) { t.Slot = tokenauth.SlotOf("17", "web") }},
		{"zero Token without an error", "unavailable", func(t *tokenauth.Token) { *t = tokenauth.Token{} }},
		{"another digest", "invalid", func(t *tokenauth.Token) { t.Digest[31] ^= 1 }},
		{"another digest, and this one as Replaced", "invalid replaced", func(t *tokenauth.Token) { t.Replaced = t.Digest; t.Digest[0] ^= 1 }},
		{"no digest", "invalid", func(t *tokenauth.Token) { t.Digest = tokenauth.Digest{} }},
		{"no expiry", "invalid expired", func(t *tokenauth.Token) { t.ExpiresAt = time.Time{} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			storage := &scripted{found: test.found}
			auth := newService(t, storage, &staff{}, nil)
			expect(t, auth, issue(t, auth, alice(), ""), test.want)
		})
	}
}

func TestMalformedTokensDoNotReachTheStorage(t *testing.T) {
	t.Parallel()
	storage := &scripted{before: func(_ context.Context, method string) error {
		t.Errorf("the storage method %s was called", method)
		return nil
	}}
	auth := newService(t, storage, &staff{}, nil)
	foreign := issue(t, newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Prefix: "tat-"}), alice(), "")
	for _, accessToken := range []string{"", "tat_", "tat_" + strings.Repeat("A", 92), foreign, "tat_" + foreign[4:]} {
		expect(t, auth, accessToken, "invalid")
		if err := auth.Revoke(t.Context(), accessToken); err != nil {
			t.Errorf("Revoke of %q: error %v, want none", accessToken, err)
		}
	}
}

func TestStorageCallsEndAfterTimeout(t *testing.T) {
	t.Parallel()
	calls := map[string]func(context.Context, *tokenauth.Service, string) error{
		"Issue": func(ctx context.Context, auth *tokenauth.Service, _ string) error {
			_, err := auth.Issue(ctx, alice(), nil)
			return err
		},
		"SignIn": func(ctx context.Context, auth *tokenauth.Service, _ string) error {
			_, err := auth.SignIn(ctx, tokenauth.Credentials{})
			return err
		},
		"Validate": func(ctx context.Context, auth *tokenauth.Service, accessToken string) error {
			_, err := auth.Validate(ctx, accessToken)
			return err
		},
		"Revoke": func(ctx context.Context, auth *tokenauth.Service, accessToken string) error {
			return auth.Revoke(ctx, accessToken)
		},
		"RevokeUser": func(ctx context.Context, auth *tokenauth.Service, _ string) error {
			return auth.RevokeUser(ctx, "17")
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				storage := new(scripted)
				auth := newService(t, storage, &staff{}, &tokenauth.Options{Timeout: 3 * time.Second})
				accessToken := issue(t, auth, alice(), "")
				storage.before = func(ctx context.Context, _ string) error { return hang(ctx) }

				start := time.Now()
				err := call(t.Context(), auth, accessToken)
				if took := time.Since(start); reason(err) != "unavailable" || !errors.Is(err, context.DeadlineExceeded) || took != 3*time.Second {
					t.Errorf("after %v: error %v", took, err)
				}
				// The caller's earlier deadline takes precedence.
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start = time.Now()
				err = call(ctx, auth, accessToken)
				if took := time.Since(start); reason(err) != "unavailable" || took != time.Second {
					t.Errorf("with a deadline of a second: after %v, error %v", took, err)
				}
				if strings.Contains(err.Error(), accessToken) {
					t.Errorf("the error contains the token: %v", err)
				}
				storage.before = nil
				expect(t, auth, accessToken, "valid")
			})
		})
	}
}

func TestValidateReturnsTheLiveChecksDecision(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, want string
		err        error
	}{
		{"allowed", "valid", nil},
		{"rejected", "invalid", tokenauth.ErrRejected},
		{"rejected, wrapped", "invalid", fmt.Errorf("locked: %w", tokenauth.ErrRejected)},
		{"failed check", "unavailable", errors.New("connection refused")},
		{"ErrNotFound is not a rejection", "unavailable", tokenauth.ErrNotFound},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			now := time.Date(2020, 9, 13, 9, 35, 33, 0, time.UTC)
			asked := 0
			var issued tokenauth.IssuedToken
			auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{
				Now: func() time.Time { return now },
				LiveCheck: func(_ context.Context, got tokenauth.Token) error {
					asked++
					want := issued.Token
					if want.Replaced = got.Replaced; got.Replaced.IsZero() || !reflect.DeepEqual(got, want) {
						t.Errorf("LiveCheck got %+v, want %+v", got, want)
					}
					got.Principal.Roles[0], got.Principal.Attributes["tenant"] = "Administrator", "south" // must not affect the next request
					return test.err
				},
			})
			replaced := issue(t, auth, alice(), "web")
			var err error
			issued, err = auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{ClientID: "web"})
			if err != nil {
				t.Fatal(err)
			}
			accessToken := issued.AccessToken.Reveal()
			for n := range 3 {
				expect(t, auth, accessToken, test.want)
				if asked != n+1 {
					t.Errorf("%d validations made %d calls of LiveCheck", n+1, asked)
				}
			}
			// LiveCheck is not called for a token that is not valid.
			expect(t, auth, replaced, "invalid replaced")
			now = now.AddDate(1, 0, 0)
			expect(t, auth, accessToken, "invalid expired")
			if asked != 3 {
				t.Errorf("LiveCheck was called %d times", asked)
			}
		})
	}
}

func TestLiveCheckEndsAfterTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{
			Timeout:   3 * time.Second,
			LiveCheck: func(ctx context.Context, _ tokenauth.Token) error { return hang(ctx) },
		})
		accessToken := issue(t, auth, alice(), "")
		start := time.Now()
		expect(t, auth, accessToken, "unavailable")
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// A guard uses the result of its own Service only, also behind a guard of
// another Service.
func TestGuardsUseTheirOwnService(t *testing.T) {
	t.Parallel()
	one := newService(t, new(memory.Store), &staff{}, nil)
	other := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Prefix: "other_"})
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token, ok := tokenauth.FromContext(r.Context()); ok {
			fmt.Fprint(w, token.Principal.UserName)
		} else {
			fmt.Fprint(w, "anonymous")
		}
	})
	accessToken := issue(t, one, alice(), "")
	for _, test := range []struct {
		name, want string
		h          http.Handler
	}{
		{"one", "200 alice", one.RequireBearer(who)},
		{"Optional behind a guard", "200 alice", one.RequireBearer(one.Optional(who))},
		{"Optional of the other Service behind a guard", "200 anonymous", one.RequireBearer(other.Optional(who))},
		{"guard behind Optional of the other Service", "200 alice", other.Optional(one.RequireBearer(who))},
		{"guard, Optional of the other Service, guard", "200 alice", one.RequireBearer(other.Optional(one.RequireBearer(who)))},
		{"guard of the other Service behind a guard", "401", one.RequireBearer(other.RequireBearer(who))},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+accessToken)
		w := httptest.NewRecorder()
		test.h.ServeHTTP(w, r)
		if got := fmt.Sprint(w.Code, " ", w.Body); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}
