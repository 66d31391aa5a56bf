package forgery

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/accesstoken"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Plants are the bugs that the trial must find. It finds a comparison of two bytes
// after some ten thousand tries. It would not find one of eight.
var Plants = []*plant.Plant{
	{
		Name: "short-digest", Trials: []string{"forgery"},
		About:     "of the digests no more than two bytes are compared",
		Validator: func(_ *tokenauth.Service, s tokenauth.Storage) plant.Validator { return shortDigest{s} },
	},
	{
		Name: "lenient-spelling", Trials: []string{"forgery"},
		About:     "white space and padding around a token are taken away before it is looked at",
		Validator: func(auth *tokenauth.Service, _ tokenauth.Storage) plant.Validator { return lenientSpelling{auth} },
	},
	{
		Name: "kept-replaced", Trials: []string{"forgery"},
		About:     "what a token replaced stays good beside it, as with a table that is never cleared",
		Validator: func(auth *tokenauth.Service, _ tokenauth.Storage) plant.Validator { return keptReplaced{auth} },
	},
	{
		Name: "kept-revoked", Trials: []string{"forgery"},
		About: "a revocation is reported as done, and does nothing",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return plant.With(s, keptRevoked{s})
		},
	},
	{
		Name: "nothing-good", Trials: []string{"forgery"},
		About: "every slot is reported as empty, so that nothing forged passes, and nothing else",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return plant.With(s, nothingGood{s})
		},
	},
}

type shortDigest struct{ tokenauth.Storage }

func (s shortDigest) Validate(ctx context.Context, accessToken string) (t tokenauth.Token, err error) {
	var b accesstoken.Body
	if len(accessToken) != len(b.Spell()) || !strings.HasPrefix(accessToken, accesstoken.Prefix) {
		return t, tokenauth.ErrInvalidToken
	}
	if !b.Decode(accessToken) || b.Seal() != accessToken {
		return t, tokenauth.ErrInvalidToken
	}
	t, err = s.Find(ctx, accesstoken.StoredAs(accessToken).Slot)
	digest := sha256.Sum256([]byte(accessToken))
	if err != nil || [2]byte(t.Digest[:2]) != [2]byte(digest[:2]) || !time.Now().Before(t.ExpiresAt) {
		return tokenauth.Token{}, tokenauth.ErrInvalidToken
	}
	return t, nil
}

type lenientSpelling struct{ plant.Validator }

func (l lenientSpelling) Validate(ctx context.Context, accessToken string) (tokenauth.Token, error) {
	return l.Validator.Validate(ctx, strings.TrimRight(strings.TrimSpace(accessToken), "="))
}

type keptReplaced struct{ plant.Validator }

func (k keptReplaced) Validate(ctx context.Context, accessToken string) (tokenauth.Token, error) {
	t, err := k.Validator.Validate(ctx, accessToken)
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
