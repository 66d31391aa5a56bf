package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// listing is a storage in memory whose List returns the given tokens and error.
type listing struct {
	memory.Store
	tokens []tokenauth.Token
	err    error
}

func (l *listing) List(context.Context, tokenauth.UserKey) ([]tokenauth.Token, error) {
	return l.tokens, l.err
}

func TestTokensListsTheUsersTokens(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	storage := new(listing)
	auth := newService(t, storage, &staff{}, &tokenauth.Options{Now: func() time.Time { return now }})
	for _, client := range []string{"web", "mobile", "desk"} {
		grant, err := auth.Issue(t.Context(), alice(), client)
		if err != nil {
			t.Fatal(err)
		}
		storage.tokens = append(storage.tokens, grant.Token)
		if client != "web" {
			continue
		}
		now = now.Add(24 * time.Hour)
	}
	clients := func() (ids []string) {
		t.Helper()
		tokens, err := auth.Tokens(t.Context(), "17")
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range tokens {
			ids = append(ids, token.ClientID)
		}
		return ids
	}
	if got := clients(); !slices.Equal(got, []string{"desk", "mobile", "web"}) {
		t.Errorf("listed the clients %q, want desk, mobile, web", got)
	}
	now = now.Add(13 * 24 * time.Hour) // 14 days after the token of web was issued
	if got := clients(); !slices.Equal(got, []string{"desk", "mobile"}) {
		t.Errorf("listed the clients %q, want desk, mobile", got)
	}

	// An operator ends one of the tokens.
	tokens, err := auth.Tokens(t.Context(), "17")
	if err != nil {
		t.Fatal(err)
	}
	if err := auth.RevokeToken(t.Context(), tokens[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := storage.Find(t.Context(), tokens[0].Slot); !errors.Is(err, tokenauth.ErrNotFound) {
		t.Errorf("the slot of the revoked token: error %v, want ErrNotFound", err)
	}
	if _, err := storage.Find(t.Context(), tokens[1].Slot); err != nil {
		t.Errorf("the slot of the other token: error %v", err)
	}

	// If the storage returns another user's tokens, they are not shown.
	if _, err := auth.Tokens(t.Context(), "18"); !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("tokens of another user: error %v, want ErrUnavailable", err)
	}
	storage.err = fmt.Errorf("row 3: %w", tokenauth.ErrCorrupt)
	if tokens, err := auth.Tokens(t.Context(), "17"); len(tokens) != 2 || !errors.Is(err, tokenauth.ErrCorrupt) {
		t.Errorf("with a corrupt token: %v, error %v; want the readable tokens and ErrCorrupt", tokens, err)
	}
	storage.err = errors.New("down")
	if tokens, err := auth.Tokens(t.Context(), "17"); tokens != nil || !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("with a failed storage: %v, error %v; want ErrUnavailable", tokens, err)
	}
	unlisted := newService(t, struct{ tokenauth.Storage }{new(memory.Store)}, &staff{}, nil)
	if _, err := unlisted.Tokens(t.Context(), "17"); !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("a storage without List: error %v, want ErrUnavailable", err)
	}
}

func TestHealthReportsAFailingStorage(t *testing.T) {
	t.Parallel()
	storage := new(scripted)
	auth := newService(t, storage, &staff{}, &tokenauth.Options{Timeout: 200 * time.Millisecond})
	if err := auth.Health(t.Context()); err != nil {
		t.Errorf("a working storage: error %v", err)
	}
	down := errors.New("down")
	storage.before = func(context.Context, string) error { return down }
	if err := auth.Health(t.Context()); !errors.Is(err, tokenauth.ErrUnavailable) || !errors.Is(err, down) {
		t.Errorf("a failed storage: error %v, want ErrUnavailable with the cause", err)
	}
	storage.before = func(ctx context.Context, _ string) error { return hang(ctx) }
	if err := auth.Health(t.Context()); !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("a storage that hangs: error %v, want ErrUnavailable", err)
	}
}

func TestOptionsReturnsACopyWithDefaults(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{ResponseAttributes: []string{"tenant"}})
	o := auth.Options()
	if o.Lifetime != 14*24*time.Hour || o.Prefix != "tat_" || o.Realm != "api" || o.Logger == nil || o.Now == nil {
		t.Errorf("Options returned %+v", o)
	}
	o.ResponseAttributes[0] = "changed"
	if got := auth.Options().ResponseAttributes[0]; got != "tenant" {
		t.Errorf("a change of the copy changed the Service: %q", got)
	}
}
