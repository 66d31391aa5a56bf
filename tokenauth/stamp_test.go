package tokenauth_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A restamping storage changes the stamp of its token right after it was read. A new
// password that keeps the token has the same effect.
type restamping struct {
	tokenauth.Storage
	reads int
	after func(reads int) error // called after each read; its error replaces the token
}

func (r *restamping) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	t, err := r.Storage.Find(ctx, slot)
	r.reads++
	if failed := r.after(r.reads); failed != nil {
		return tokenauth.Token{}, failed
	}
	return t, err
}

// If LiveCheck rejects a stamp, the token is read again, until its stamp no longer
// changes.
func TestLiveCheckSeesTheNewStampOfAKeptToken(t *testing.T) {
	t.Parallel()
	failed := errors.New("the storage failed")
	for name, test := range map[string]struct {
		changes int    // how often the user and the token change
		keeps   bool   // whether the changes keep the token
		stamp   string // of the token
		failed  error  // of the second read
		want    error
		reads   int
	}{
		"unchanged":           {stamp: "0", keeps: true, reads: 1},
		"kept":                {changes: 1, keeps: true, stamp: "0", reads: 2},
		"kept twice":          {changes: 2, keeps: true, stamp: "0", reads: 3},
		"ended":               {changes: 1, stamp: "0", want: tokenauth.ErrInvalidToken, reads: 2},
		"no stamp":            {changes: 1, want: tokenauth.ErrInvalidToken, reads: 1},
		"the storage failed":  {changes: 1, keeps: true, stamp: "0", failed: failed, want: tokenauth.ErrUnavailable, reads: 2},
		"revoked in the gap":  {changes: 1, keeps: true, stamp: "0", failed: tokenauth.ErrNotFound, want: tokenauth.ErrInvalidToken, reads: 2},
		"corrupt, so invalid": {changes: 1, keeps: true, stamp: "0", failed: tokenauth.ErrCorrupt, want: tokenauth.ErrInvalidToken, reads: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, user := t.Context(), "0"
			tokens := &restamping{Storage: new(memory.Store)}
			auth, err := tokenauth.New(tokens, new(staff), &tokenauth.Options{
				Logger: slog.New(slog.DiscardHandler),
				LiveCheck: func(_ context.Context, t tokenauth.Token) error {
					if t.Principal.Stamp != user {
						return tokenauth.ErrRejected
					}
					return nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			issued, err := auth.Issue(ctx, tokenauth.Principal{UserID: "alice", Stamp: test.stamp}, nil)
			if err != nil {
				t.Fatal(err)
			}
			tokens.after = func(reads int) error {
				if reads == 2 && test.failed != nil {
					return test.failed
				}
				if reads > test.changes {
					return nil
				}
				user = string(rune('0' + reads))
				if !test.keeps {
					return nil
				}
				kept := issued.Token
				kept.Principal.Stamp = user
				return tokens.Storage.Replace(ctx, kept)
			}
			_, err = auth.Validate(ctx, issued.AccessToken.Reveal())
			if !errors.Is(err, test.want) || tokens.reads != test.reads {
				t.Errorf("error %v, want %v; %d reads, want %d", err, test.want, tokens.reads, test.reads)
			}
		})
	}
}
