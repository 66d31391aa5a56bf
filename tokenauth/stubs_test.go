package tokenauth_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func alice() tokenauth.Principal {
	return tokenauth.Principal{
		UserID: "17", UserName: "alice", Roles: []string{"Reader", "Staff"},
		Attributes: map[string]string{"tenant": "north"}, Stamp: "stamp-1",
	}
}

func bob() tokenauth.Principal { return tokenauth.Principal{UserID: "18", UserName: "bob"} }

// staff is an Authenticator and a Rechecker with results that the test sets.
type staff struct {
	err   error // returned by Authenticate; nil: it returns alice
	asked int   // number of calls of Authenticate
	// look is called by Recheck; nil: nothing has changed.
	look func(context.Context, tokenauth.Principal) error
}

func (s *staff) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	s.asked++
	if c.Password.Reveal() == "panic" {
		panic("a bug of the host's")
	}
	return alice(), s.err
}

func (s *staff) Recheck(ctx context.Context, p tokenauth.Principal) error {
	if s.look == nil {
		return nil
	}
	return s.look(ctx, p)
}

// A scripted storage is one in memory that respects the context. A test can set
// functions that run during each call.
type scripted struct {
	memory.Store
	// before is called at the start of each call; its error becomes the error
	// of the call.
	before func(ctx context.Context, method string) error
	// hook is like before, and may be changed while calls are in progress.
	hook atomic.Pointer[func(ctx context.Context, method string) error]
	// stored is called after a token was stored.
	stored func()
	// found may change the token that Find returns.
	found func(*tokenauth.Token)
}

func (s *scripted) step(ctx context.Context, method string) error {
	if s.before != nil {
		if err := s.before(ctx, method); err != nil {
			return err
		}
	}
	if hook := s.hook.Load(); hook != nil && *hook != nil {
		if err := (*hook)(ctx, method); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (s *scripted) Replace(ctx context.Context, t tokenauth.Token) error {
	if err := s.step(ctx, "Replace"); err != nil {
		return err
	}
	err := s.Store.Replace(ctx, t)
	if s.stored != nil {
		s.stored()
	}
	return err
}

func (s *scripted) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	if err := s.step(ctx, "Find"); err != nil {
		return tokenauth.Token{}, err
	}
	t, err := s.Store.Find(ctx, slot)
	if s.found != nil {
		s.found(&t)
	}
	return t, err
}

func (s *scripted) Revoke(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
	if err := s.step(ctx, "Revoke"); err != nil {
		return err
	}
	return s.Store.Revoke(ctx, slot, d)
}

func (s *scripted) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	if err := s.step(ctx, "RevokeUser"); err != nil {
		return err
	}
	return s.Store.RevokeUser(ctx, u)
}

func (s *scripted) Purge(ctx context.Context, before time.Time) (int64, error) {
	if err := s.step(ctx, "Purge"); err != nil {
		return 0, err
	}
	return s.Store.Purge(ctx, before)
}

// holds reports whether the slot of alice has a token. It does not call before
// or found.
func (s *scripted) holds() bool {
	_, err := s.Store.Find(context.Background(), tokenauth.SlotOf("17", ""))
	return err == nil
}

// hang waits for the context to end, like a storage whose server does not
// respond.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func newService(t testing.TB, s tokenauth.Storage, a tokenauth.Authenticator, o *tokenauth.Options) *tokenauth.Service {
	t.Helper()
	var options tokenauth.Options
	if o != nil {
		options = *o
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	auth, err := tokenauth.New(s, a, &options)
	if err != nil {
		t.Fatal(err)
	}
	tokenauth.FixFingerprints(auth)
	return auth
}

// issue returns a new access token.
func issue(t testing.TB, auth *tokenauth.Service, p tokenauth.Principal, clientID string) string {
	t.Helper()
	grant, err := auth.Issue(t.Context(), p, &tokenauth.IssueOptions{ClientID: clientID})
	if err != nil {
		t.Fatalf("Issue: %v", err)
	}
	return grant.AccessToken.Reveal()
}

// logInto returns a logger, and the buffer that it writes to.
func logInto() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

// reason returns the names of all sentinels that the error is, or "valid" for
// nil.
func reason(err error) string {
	if err == nil {
		return "valid"
	}
	var names []string
	for _, sentinel := range []struct {
		name string
		err  error
	}{
		{"rejected", tokenauth.ErrRejected},
		{"invalid", tokenauth.ErrInvalidToken},
		{"expired", tokenauth.ErrExpiredToken},
		{"replaced", tokenauth.ErrReplacedToken},
		{"unavailable", tokenauth.ErrUnavailable},
		{"throttled", tokenauth.ErrThrottled},
		{"principal", tokenauth.ErrInvalidPrincipal},
	} {
		if errors.Is(err, sentinel.err) {
			names = append(names, sentinel.name)
		}
	}
	return strings.Join(names, " ")
}

// expect validates an access token and compares the result, as reason returns
// it.
func expect(t testing.TB, auth *tokenauth.Service, accessToken, want string) {
	t.Helper()
	token, err := auth.Validate(t.Context(), accessToken)
	if got := reason(err); got != want {
		t.Errorf("the token is %q, want %q; error %v", got, want, err)
	}
	if err != nil && (!token.Digest.IsZero() || token.Principal.UserID != "") {
		t.Errorf("Validate returned an error with the token %+v", token)
	}
}

// endpoint returns the handler of the revocation or introspection endpoint.
func endpoint(t testing.TB, auth *tokenauth.Service, path string) http.Handler {
	t.Helper()
	e := tokenauth.Endpoints{Revocation: "/revoke"}
	if path == "/introspect" {
		e = tokenauth.Endpoints{Introspection: path}
	}
	handlers, _, err := auth.Handlers("", e)
	if err != nil {
		t.Fatal(err)
	}
	return handlers[path]
}
