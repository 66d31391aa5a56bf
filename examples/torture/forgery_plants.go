package main

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// The plants that the forgeries have to find. What compares two bytes is found
// after some ten thousand tries; what compares eight would not be.

type shortDigest struct{ tokenauth.Storage }

func (s shortDigest) Validate(ctx context.Context, accessToken string) (t tokenauth.Token, err error) {
	var b tokenBody
	if len(accessToken) != len(b.spell()) || !strings.HasPrefix(accessToken, tokenPrefix) {
		return t, tokenauth.ErrInvalidToken
	}
	if !b.decode(accessToken) || b.seal() != accessToken {
		return t, tokenauth.ErrInvalidToken
	}
	t, err = s.Find(ctx, storedAs(accessToken).Slot)
	digest := sha256.Sum256([]byte(accessToken))
	if err != nil || [2]byte(t.Digest[:2]) != [2]byte(digest[:2]) || !time.Now().Before(t.ExpiresAt) {
		return tokenauth.Token{}, tokenauth.ErrInvalidToken
	}
	return t, nil
}

type lenientSpelling struct{ validator }

func (l lenientSpelling) Validate(ctx context.Context, accessToken string) (tokenauth.Token, error) {
	return l.validator.Validate(ctx, strings.TrimRight(strings.TrimSpace(accessToken), "="))
}

type keptReplaced struct{ validator }

func (k keptReplaced) Validate(ctx context.Context, accessToken string) (tokenauth.Token, error) {
	t, err := k.validator.Validate(ctx, accessToken)
	if err == tokenauth.ErrReplacedToken {
		return t, nil
	}
	return t, err
}

type keptRevoked struct{ tokenauth.Storage }

func (keptRevoked) Revoke(context.Context, tokenauth.Slot, tokenauth.Digest) error { return nil }

type nothingGood struct{ tokenauth.Storage }

func (nothingGood) Find(context.Context, tokenauth.Slot) (tokenauth.Token, error) {
	return tokenauth.Token{}, tokenauth.ErrNotFound
}
