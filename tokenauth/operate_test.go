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

// listing is a storage in memory that lists what it is told to.
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
		t.Errorf("listed %q", got)
	}
	now = now.Add(13 * 24 * time.Hour) // 14 days after the first
	if got := clients(); !slices.Equal(got, []string{"desk", "mobile"}) {
		t.Errorf("listed %q", got)
	}

	// One of them is ended as an operator would.
	tokens, err := auth.Tokens(t.Context(), "17")
	if err != nil {
		t.Fatal(err)
	}
	if err := auth.RevokeToken(t.Context(), tokens[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := storage.Find(t.Context(), tokens[0].Slot); !errors.Is(err, tokenauth.ErrNotFound) {
		t.Errorf("the slot of the token that was revoked: %v", err)
	}
	if _, err := storage.Find(t.Context(), tokens[1].Slot); err != nil {
		t.Errorf("the other one: %v", err)
	}

	// Nobody is shown another's.
	if _, err := auth.Tokens(t.Context(), "18"); !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("rows of another user: %v", err)
	}
	storage.err = fmt.Errorf("row 3: %w", tokenauth.ErrCorrupt)
	if tokens, err := auth.Tokens(t.Context(), "17"); len(tokens) != 2 || !errors.Is(err, tokenauth.ErrCorrupt) {
		t.Errorf("beside a corrupt one: %v, %v", tokens, err)
	}
	storage.err = errors.New("down")
	if tokens, err := auth.Tokens(t.Context(), "17"); tokens != nil || !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("storage down: %v, %v", tokens, err)
	}
	unlisted := newService(t, struct{ tokenauth.Storage }{new(memory.Store)}, &staff{}, nil)
	if _, err := unlisted.Tokens(t.Context(), "17"); !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("a storage that cannot list: %v", err)
	}
}

func TestHealthReportsAFailingStorage(t *testing.T) {
	t.Parallel()
	storage := new(scripted)
	auth := newService(t, storage, &staff{}, &tokenauth.Options{Timeout: 20 * time.Millisecond})
	if err := auth.Health(t.Context()); err != nil {
		t.Errorf("a storage that answers: %v", err)
	}
	down := errors.New("down")
	storage.before = func(context.Context, string) error { return down }
	if err := auth.Health(t.Context()); !errors.Is(err, tokenauth.ErrUnavailable) || !errors.Is(err, down) {
		t.Errorf("one that is down: %v", err)
	}
	storage.before = func(ctx context.Context, _ string) error { return hang(ctx) }
	if err := auth.Health(t.Context()); !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("one that is silent: %v", err)
	}
}

func TestOptionsReturnsACopyWithDefaults(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{ResponseAttributes: []string{"tenant"}})
	o := auth.Options()
	if o.Lifetime != 14*24*time.Hour || o.Prefix != "tat_" || o.Realm != "api" || o.Logger == nil || o.Now == nil {
		t.Errorf("they are %+v", o)
	}
	o.ResponseAttributes[0] = "changed"
	if got := auth.Options().ResponseAttributes[0]; got != "tenant" {
		t.Errorf("a copy that is changed changes the Service: %q", got)
	}
}
