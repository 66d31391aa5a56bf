package gormstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// liveService returns a service that compares the stamp in each validation.
func liveService(t *testing.T, storage tokenauth.Storage, s *gormstore.Store, o tokenauth.Options) *tokenauth.Service {
	t.Helper()
	o.LiveCheck, o.Logger, o.Timeout = s.Users().LiveCheck, quiet, 20*time.Second
	o.Throttle.InsecureOff = true
	auth, err := tokenauth.New(storage, s.Users(), &o)
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

// issueFor issues a token as the host does after single sign-on.
func issueFor(t *testing.T, auth *tokenauth.Service, s *gormstore.Store, userID, clientID string) tokenauth.IssuedToken {
	t.Helper()
	p, err := s.Users().Principal(t.Context(), userID)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := auth.Issue(t.Context(), p, &tokenauth.IssueOptions{ClientID: clientID, Recheck: true})
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

func isValid(t *testing.T, auth *tokenauth.Service, issued tokenauth.IssuedToken) bool {
	t.Helper()
	_, err := auth.Validate(t.Context(), issued.AccessToken.Reveal())
	if err != nil && !errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Error(err)
	}
	return err == nil
}

// A changing authenticator changes the user before the first look-up of one kind.
type changing struct {
	*gormstore.Users
	reload, recheck func() // called once, if not nil
}

func (c *changing) Reload(ctx context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	if change := c.reload; change != nil {
		c.reload = nil
		change()
	}
	return c.Users.Reload(ctx, p)
}

func (c *changing) Recheck(ctx context.Context, p tokenauth.Principal) error {
	if change := c.recheck; change != nil {
		c.recheck = nil
		change()
	}
	return c.Users.Recheck(ctx, p)
}

// A new password keeps a token also while it is refreshed, and while the refresh is
// repeated.
func TestSetPasswordKeepsATokenThatIsRefreshed(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		user := create(t, s, "alice")
		users := &changing{Users: s.Users()}
		auth := refreshService(t, s, users)
		first := issueFor(t, auth, s, user.ID, "")
		keeping := func(kept tokenauth.IssuedToken) func() {
			return func() {
				if err := s.Users().SetPassword(t.Context(), user.ID, tokenauth.NewSecret("new"), kept.Token); err != nil {
					t.Fatal(err)
				}
			}
		}
		users.reload = keeping(first)
		second, err := refreshWith(t.Context(), auth, first)
		if err != nil || !isValid(t, auth, second) {
			t.Fatalf("a refresh during the change: error %v, or the token is not valid", err)
		}
		users.recheck = keeping(second)
		again, err := refreshWith(t.Context(), auth, first)
		if err != nil || again.AccessToken.Reveal() != second.AccessToken.Reveal() || !isValid(t, auth, second) {
			t.Fatalf("a repetition during the change: error %v, or the token is not valid, or another one", err)
		}
	})
}

// A new password keeps the tokens that the caller names, and ends the others, in a
// transaction of the store or of the host.
func TestSetPasswordKeepsATokenAndEndsTheOthers(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx, auth := t.Context(), liveService(t, s, s, tokenauth.Options{})
		newPassword := tokenauth.NewSecret("another")
		for way, change := range map[string]func(id string, keep ...tokenauth.Token) error{
			"own": func(id string, keep ...tokenauth.Token) error {
				return s.Users().SetPassword(ctx, id, newPassword, keep...)
			},
			"host's": func(id string, keep ...tokenauth.Token) error {
				return db.Transaction(func(tx *gorm.DB) error { return s.Users().WithTx(tx).SetPassword(ctx, id, newPassword, keep...) })
			},
		} {
			user, bystander := create(t, s, way), create(t, s, "not-"+way)
			kept, second, other := issueFor(t, auth, s, user.ID, "phone"), issueFor(t, auth, s, user.ID, "tablet"), issueFor(t, auth, s, user.ID, "laptop")
			foreign := issueFor(t, auth, s, bystander.ID, "phone")
			if err := change(user.ID, kept.Token, second.Token); err != nil {
				t.Fatal(err)
			}
			if !isValid(t, auth, kept) || !isValid(t, auth, second) || isValid(t, auth, other) || !isValid(t, auth, foreign) {
				t.Errorf("%s transaction: valid are the kept tokens %v and %v, another token %v, another user's %v", way,
					isValid(t, auth, kept), isValid(t, auth, second), isValid(t, auth, other), isValid(t, auth, foreign))
			}
			if _, err := signIn(ctx, auth, user.Name, "another"); err != nil {
				t.Errorf("signing in with the new password: %v", err)
			}
			if _, err := signIn(ctx, auth, user.Name, "password"); !errors.Is(err, tokenauth.ErrRejected) {
				t.Errorf("signing in with the old password: error %v, want ErrRejected", err)
			}
			tokens, err := auth.Tokens(ctx, user.ID)
			if err != nil || len(tokens) != 3 {
				t.Errorf("the user has %d tokens, error %v", len(tokens), err)
			}
			for _, token := range tokens {
				if token.ClientID == "phone" && (token.Digest != kept.Token.Digest || token.Slot != kept.Token.Slot || !token.ExpiresAt.Equal(kept.Token.ExpiresAt)) {
					t.Errorf("the kept token changed from %+v to %+v", kept.Token, token)
				}
			}
			// The token as it was before the first change can be kept again.
			if err := change(user.ID, kept.Token); err != nil || !isValid(t, auth, kept) || isValid(t, auth, second) {
				t.Errorf("keeping it again: error %v, valid are the kept token %v and the other %v", err, isValid(t, auth, kept), isValid(t, auth, second))
			}
			if err := change(user.ID); err != nil || isValid(t, auth, kept) {
				t.Errorf("a reset: error %v, the token is valid: %v", err, isValid(t, auth, kept))
			}
		}
	})
}

// If a token cannot be kept, nothing changes, even in a transaction that the host
// commits.
func TestSetPasswordChangesNothingIfItCannotKeepTheToken(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx, auth := t.Context(), liveService(t, s, s, tokenauth.Options{})
		elsewhere := liveService(t, new(memory.Store), s, tokenauth.Options{})
		user, bystander := create(t, s, "alice"), create(t, s, "bob")
		replaced := issueFor(t, auth, s, user.ID, "phone")
		current, other := issueFor(t, auth, s, user.ID, "phone"), issueFor(t, auth, s, user.ID, "laptop")
		revoked := issueFor(t, auth, s, user.ID, "tablet")
		if err := auth.RevokeToken(ctx, revoked.Token); err != nil {
			t.Fatal(err)
		}
		unstamped, err := auth.Issue(ctx, tokenauth.Principal{UserID: user.ID}, &tokenauth.IssueOptions{ClientID: "script"})
		if err != nil {
			t.Fatal(err)
		}
		moved := current.Token
		moved.Slot = other.Token.Slot
		for name, test := range map[string]struct {
			token tokenauth.Token
			want  error
		}{
			"another user's token":      {issueFor(t, auth, s, bystander.ID, "phone").Token, gormstore.ErrInvalid},
			"a token of Fallback":       {tokenauth.Token{Principal: current.Token.Principal}, tokenauth.ErrInvalidToken},
			"a token in another store":  {issueFor(t, elsewhere, s, user.ID, "phone").Token, tokenauth.ErrInvalidToken},
			"a replaced token":          {replaced.Token, tokenauth.ErrInvalidToken},
			"a revoked token":           {revoked.Token, tokenauth.ErrInvalidToken},
			"a token without the stamp": {unstamped.Token, tokenauth.ErrInvalidToken},
			"a token in another slot":   {moved, tokenauth.ErrInvalidToken},
		} {
			for _, keep := range [][]tokenauth.Token{{test.token}, {current.Token, test.token}} {
				if err := s.Users().SetPassword(ctx, user.ID, tokenauth.NewSecret("another"), keep...); !errors.Is(err, test.want) {
					t.Errorf("%s: error %v, want %v", name, err, test.want)
				}
				err := db.Transaction(func(tx *gorm.DB) error {
					if err := s.Users().WithTx(tx).SetPassword(ctx, user.ID, tokenauth.NewSecret("another"), keep...); !errors.Is(err, test.want) {
						t.Errorf("%s in the host's transaction: error %v, want %v", name, err, test.want)
					}
					return nil // commits
				})
				if err != nil {
					t.Error(err)
				}
			}
			if !isValid(t, auth, current) || !isValid(t, auth, other) {
				t.Errorf("%s: a token has ended", name)
			}
		}
		if err := s.Users().SetPassword(ctx, "nobody", tokenauth.NewSecret("another"), tokenauth.Token{
			Slot: tokenauth.SlotOf("nobody", ""), Digest: tokenauth.Digest{1},
		}); !errors.Is(err, tokenauth.ErrNotFound) {
			t.Errorf("an unknown user: error %v, want ErrNotFound", err)
		}
		if _, err := signIn(ctx, auth, "alice", "password"); err != nil {
			t.Errorf("signing in with the unchanged password: %v", err)
		}
		pending, err := s.Users().PendingRevocations(ctx, tokenauth.Revocation{})
		if err != nil || len(pending) != 0 {
			t.Errorf("%d revocations are queued, error %v", len(pending), err)
		}
	})
}

// Requests with the kept token are in progress while the password changes again and
// again. None gets a 401, and the queued revocations do not end the token. With the cache
// of PostgreSQL, a token of another device ends.
func TestKeptTokenIsValidThroughoutTheChange(t *testing.T) {
	t.Parallel()
	strict := func(e engine) func(t *testing.T) (tokenauth.Storage, *gormstore.Store, tokenauth.Options) {
		return func(t *testing.T) (tokenauth.Storage, *gormstore.Store, tokenauth.Options) {
			s, _ := e.store(t)
			return s, s, tokenauth.Options{}
		}
	}
	storages := map[string]func(t *testing.T) (tokenauth.Storage, *gormstore.Store, tokenauth.Options){
		"postgres with the cache": func(t *testing.T) (tokenauth.Storage, *gormstore.Store, tokenauth.Options) {
			w, _ := openWatched(t, throwaway.Postgres(t), pgxfeed.Listener{})
			return w, w.Store, tokenauth.Options{Cache: &tokenauth.CacheOptions{}}
		},
	}
	for _, e := range engines {
		storages[e.name] = strict(e)
	}
	for name, open := range storages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storage, s, o := open(t)
			auth := liveService(t, storage, s, o)
			runUntilEnd(t, auth)
			if o.Cache != nil {
				eventually(t, "the feed is alive", func() bool { return auth.CacheStats().FeedAlive })
			}
			user := create(t, s, "alice")
			kept := issueFor(t, auth, s, user.ID, "phone")
			protected := auth.RequireBearer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) }))
			get := func(issued tokenauth.IssuedToken) int {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
				r.Header.Set("Authorization", "Bearer "+issued.AccessToken.Reveal())
				w := httptest.NewRecorder()
				protected.ServeHTTP(w, r)
				return w.Code
			}
			var requests, refused atomic.Int64
			var over atomic.Bool
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					for !over.Load() {
						requests.Add(1)
						if status := get(kept); status != http.StatusNoContent {
							refused.Add(1)
							t.Errorf("a request with the kept token gets %d", status)
							return
						}
					}
				})
			}
			changes := 3
			if throwaway.Long() {
				changes = 10
			}
			for i := range changes {
				other := issueFor(t, auth, s, user.ID, "laptop")
				if status := get(other); status != http.StatusNoContent {
					t.Errorf("a request with the other token gets %d before the change", status)
				}
				if err := s.Users().SetPassword(t.Context(), user.ID, tokenauth.NewSecret(fmt.Sprint("password", i)), kept.Token); err != nil {
					t.Error(err)
				}
				if status := get(other); status != http.StatusUnauthorized {
					t.Errorf("a request with the other token gets %d after the change", status)
				}
			}
			over.Store(true)
			wg.Wait()
			t.Logf("%d requests during %d changes, %d refused", requests.Load(), changes, refused.Load())
			eventually(t, "Run has removed the queued revocation", func() bool {
				pending, err := s.Users().PendingRevocations(t.Context(), tokenauth.Revocation{})
				return err == nil && len(pending) == 0
			})
			if status := get(kept); status != http.StatusNoContent {
				t.Errorf("a request with the kept token gets %d after the queued revocation", status)
			}
		})
	}
}

// runUntilEnd runs the service until the test ends.
func runUntilEnd(t *testing.T, auth *tokenauth.Service) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { auth.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
}

// Sign-ins at the same client are in progress while the password changes. The change
// keeps the token, or finds that a sign-in replaced it, and then changes nothing.
func TestSetPasswordKeepsNoReplacedToken(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		ctx, auth := t.Context(), liveService(t, s, s, tokenauth.Options{})
		for round := range long(20) {
			user := create(t, s, fmt.Sprint("user", round))
			held := issueFor(t, auth, s, user.ID, "phone")
			var signedIn, changed error
			var newer tokenauth.IssuedToken
			var wg sync.WaitGroup
			wg.Go(func() {
				newer, signedIn = auth.SignIn(ctx, tokenauth.Credentials{UserName: user.Name, Password: tokenauth.NewSecret("password"), ClientID: "phone"})
			})
			wg.Go(func() {
				changed = s.Users().SetPassword(ctx, user.ID, tokenauth.NewSecret("another"), held.Token)
			})
			wg.Wait()
			switch {
			case changed == nil: // the sign-in with the old password was too late, or its token ended
				if signedIn == nil && isValid(t, auth, newer) {
					t.Error("a token that was issued for the old password is valid after the change")
				}
			case errors.Is(changed, tokenauth.ErrInvalidToken):
				if signedIn != nil || !isValid(t, auth, newer) || isValid(t, auth, held) {
					t.Errorf("the token was replaced: error %v, the newer token is valid: %v, the older: %v", signedIn, isValid(t, auth, newer), isValid(t, auth, held))
				}
			default:
				t.Error(changed)
			}
		}
	})
}

// While a disabling transaction of the host is open, SetPassword waits for it. It does
// not keep a token that the transaction ends.
func TestSetPasswordRevivesNoToken(t *testing.T) {
	lockable(t, func(t *testing.T, db *gorm.DB) {
		s := newStore(t, db, nil)
		auth := liveService(t, s, s, tokenauth.Options{})
		user := create(t, s, "alice")
		held := issueFor(t, auth, s, user.ID, "phone")
		tx := db.Begin()
		if err := s.Users().WithTx(tx).SetRoles(t.Context(), user.ID, "Auditor"); err != nil {
			t.Fatal(err)
		}
		changed := make(chan error, 1)
		go func() {
			changed <- s.Users().SetPassword(t.Context(), user.ID, tokenauth.NewSecret("another"), held.Token)
		}()
		awaitLock(t, db)
		if err := tx.Commit().Error; err != nil {
			t.Fatal(err)
		}
		if err := <-changed; !errors.Is(err, tokenauth.ErrInvalidToken) || isValid(t, auth, held) {
			t.Errorf("error %v, want ErrInvalidToken; the token is valid: %v", err, isValid(t, auth, held))
		}
	})
}
