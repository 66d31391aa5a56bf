package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// reloads has the users of the function user. It knows no passwords.
type reloads struct{}

func (reloads) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	return tokenauth.Principal{}, tokenauth.ErrRejected
}

// Reload implements [tokenauth.Reloader].
func (reloads) Reload(_ context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	number, err := strconv.ParseInt(p.UserID[24:], 16, 64)
	return user(int(number)), err
}

// apiKeys compares a validation of one of many API keys with one of as many access
// tokens.
func apiKeys(tb testing.TB, p plan, r *report) {
	const owners, each = 100_000, 10
	p = p.of(20*time.Millisecond, p.cycles)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // as in growth
	p.before = sparingly(1 << 30)

	tokens, keys := new(memory.Store), new(memory.Store)
	strict := withKeys(tb, tokens, nil)
	cards := deal(tb, strict, owners*each)
	cached := withKeys(tb, tokens, &tokenauth.CacheOptions{MaxEntries: owners * each})
	warm(tb, cached, cards)

	keysStrict := withKeys(tb, keys, nil)
	keyCards := dealKeys(tb, keysStrict, owners, each)
	keysCached := withKeys(tb, keys, &tokenauth.CacheOptions{MaxEntries: owners * each})
	all := keysOf(tb, keysCached)
	for i := range keyCards.len() {
		if _, err := all.Validate(tb.Context(), keyCards.accessToken(i)); err != nil {
			tb.Fatal(err)
		}
	}
	runtime.GC()

	var operations []operation
	for _, one := range []struct {
		name  string
		auth  *tokenauth.Service
		cards deck
	}{{"strict", strict, cards}, {"cached", cached, cards}, {"strict keys", keysStrict, keyCards}, {"cached keys", keysCached, keyCards}} {
		e := engine(ginadapter.Guard(one.auth, tokenauth.Requirement{Keys: true}), userID)
		operations = append(operations, operation{name: one.name, run: func(a amount) error { return serveDeck(e, one.cards, a) }})
	}
	figures, err := p.compare(operations...)
	if err != nil {
		tb.Fatal(err)
	}
	t := &table{
		title: "Validation of API keys",
		about: fmt.Sprintf("Whole requests inside Gin on %d cores, each with another token or key, in random order; ns per request, without garbage collections; "+
			"median and spread of %d rounds. All guards accept keys.", cores(), p.rounds),
		head: []string{"", "cached, ns", "min–max", "strict on memory, ns", "min–max"},
	}
	for i, name := range []string{"1,000,000 access tokens of 1,000,000 users", "1,000,000 API keys of 100,000 users"} {
		t.add(append(append([]string{name}, nanoseconds(figures[2*i+1])...), nanoseconds(figures[2*i])...)...)
	}
	r.table(t)
	r.ratio("keys_to_tokens_cached", figures[3].over(figures[1]))
	r.ratio("keys_to_tokens_strict_memory", figures[2].over(figures[0]))
	runtime.KeepAlive(tokens)
	runtime.KeepAlive(keys)
}

// withKeys returns a Service with API keys. See service.
func withKeys(tb testing.TB, s tokenauth.Storage, cache *tokenauth.CacheOptions) *tokenauth.Service {
	auth, err := tokenauth.New(s, reloads{}, &tokenauth.Options{Cache: cache, Keys: new(tokenauth.KeyOptions), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return running(tb, auth)
}

func keysOf(tb testing.TB, auth *tokenauth.Service) *tokenauth.Keys {
	keys, err := tokenauth.NewKeys(auth)
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

// dealKeys makes keys for each of the first n users, and returns them as a deck.
func dealKeys(tb testing.TB, auth *tokenauth.Service, n, each int) deck {
	keys := keysOf(tb, auth)
	made := make([]string, 0, n*each)
	for i := range n {
		for range each {
			secret, _, err := keys.Create(tb.Context(), tokenauth.Token{Principal: user(i)}, tokenauth.Key{Name: "nightly report", Roles: []string{"Reader"}})
			if err != nil {
				tb.Fatal(err)
			}
			made = append(made, secret.Reveal())
		}
	}
	return shuffled(made)
}
