package main

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A deck holds many access tokens, shuffled, in one string. A measurement reads the
// string in order, so it looks up the stored tokens in random order, as a server
// does.
type deck struct {
	text   string // "Bearer " and an access token, repeated
	length int    // bytes of "Bearer " and one access token
}

const scheme = "Bearer "

func (d deck) len() int { return len(d.text) / d.length }

// header returns the value of the i-th Authorization header.
func (d deck) header(i int) string { return d.text[i*d.length : (i+1)*d.length] }

func (d deck) accessToken(i int) string { return d.header(i)[len(scheme):] }

// deal issues a token to each of the first n users, and returns them as a deck.
func deal(tb testing.TB, auth *tokenauth.Service, n int) deck {
	accessTokens := make([]string, n)
	for i := range accessTokens {
		accessTokens[i] = issue(tb, auth, user(i))
	}
	return shuffled(accessTokens)
}

// shuffled returns a deck with the tokens in random order.
func shuffled(tokens []string) deck {
	rand.Shuffle(len(tokens), func(i, j int) { tokens[i], tokens[j] = tokens[j], tokens[i] })
	var text strings.Builder
	text.Grow(len(tokens) * (len(scheme) + len(tokens[0])))
	for _, t := range tokens {
		text.WriteString(scheme + t)
	}
	return deck{text.String(), text.Len() / len(tokens)}
}

// A ledger is a [tokenauth.Storage] in memory. It supports only the users that the
// function user returns. Its rows contain no pointers, so that the garbage
// collector does not scan them.
type ledger struct {
	mu   sync.RWMutex
	rows map[tokenauth.Slot]ledgerRow
}

type ledgerRow struct {
	digest          tokenauth.Digest
	issued, expires int64
	user            int64 // the index of the user, for the function user
}

func (l *ledger) Replace(_ context.Context, t tokenauth.Token) error {
	number, err := strconv.ParseInt(t.Principal.UserID[24:], 16, 64)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rows == nil {
		l.rows = make(map[tokenauth.Slot]ledgerRow)
	}
	l.rows[t.Slot] = ledgerRow{t.Digest, t.IssuedAt.Unix(), t.ExpiresAt.Unix(), number}
	return nil
}

func (l *ledger) Find(_ context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	l.mu.RLock()
	row, ok := l.rows[s]
	l.mu.RUnlock()
	if !ok {
		return tokenauth.Token{}, tokenauth.ErrNotFound
	}
	return tokenauth.Token{
		Slot:      s,
		Digest:    row.digest,
		Principal: user(int(row.user)),
		IssuedAt:  time.Unix(row.issued, 0).UTC(),
		ExpiresAt: time.Unix(row.expires, 0).UTC(),
	}, nil
}

// Revoke and RevokeUser do nothing: no measurement on a ledger revokes tokens.

func (l *ledger) Revoke(context.Context, tokenauth.Slot, tokenauth.Digest) error { return nil }
func (l *ledger) RevokeUser(context.Context, tokenauth.UserKey) error            { return nil }

// Watch implements [tokenauth.Watcher]. It reports only heartbeats.
func (l *ledger) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		feed.Heartbeat(time.Now())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
