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

// Plants lists the bugs that the trial "forgery" must find. It finds a comparison of
// only two bytes after some ten thousand tries. It would not find one of eight bytes.
var Plants = []*plant.Plant{
	{
		Name: "short-digest", Trials: []string{"forgery"},
		About:     "only the first two bytes of the digests are compared",
		Validator: func(_ *tokenauth.Service, s tokenauth.Storage) plant.Validator { return shortDigest{s} },
	},
	{
		Name: "lenient-spelling", Trials: []string{"forgery"},
		About:     "white space and padding around a token are removed before it is validated",
		Validator: func(auth *tokenauth.Service, _ tokenauth.Storage) plant.Validator { return lenientSpelling{auth} },
	},
	{
		Name: "kept-replaced", Trials: []string{"forgery"},
		About:     "a replaced token stays valid, as with a table whose old rows are never deleted",
		Validator: func(auth *tokenauth.Service, _ tokenauth.Storage) plant.Validator { return keptReplaced{auth} },
	},
	{
		Name: "kept-revoked", Trials: []string{"forgery"},
		About: "a revocation is reported as done but does nothing",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return plant.With(s, keptRevoked{s})
		},
	},
	{
		Name: "ended-by-made-up", Trials: []string{"forgery"},
		About: "a made-up refresh token ends the sign-in in its slot, like a reused one",
	},
	{
		Name: "lenient-refresh", Trials: []string{"forgery"},
		About: "white space and padding around a refresh token are removed before it is used",
	},
	{
		Name: "nothing-good", Trials: []string{"forgery"},
		About: "every slot is reported as empty: all tokens are refused, forged or not",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return plant.With(s, nothingGood{s})
		},
	},
}

// refreshPlants returns the refresher with the bug, by the plant's name.
var refreshPlants = map[string]func(*tokenauth.Service, tokenauth.Storage) refresher{
	"ended-by-made-up": func(auth *tokenauth.Service, s tokenauth.Storage) refresher { return endedByMadeUp{auth, s} },
	"lenient-refresh":  func(auth *tokenauth.Service, _ tokenauth.Storage) refresher { return lenientRefresh{auth} },
}

// An endedByMadeUp takes each unknown refresh token for a reused one.
type endedByMadeUp struct {
	refresher
	storage tokenauth.Storage
}

func (e endedByMadeUp) Refresh(ctx context.Context, c tokenauth.Credentials) (tokenauth.IssuedToken, error) {
	issued, err := e.refresher.Refresh(ctx, c)
	key, ok := accesstoken.SlotOfRefresh(c.RefreshToken.Reveal())
	if err == nil || !ok {
		return issued, err
	}
	var slot tokenauth.Slot
	copy(slot.User[:], key[:16])
	copy(slot.Client[:], key[16:])
	if t, found := e.storage.Find(ctx, slot); found == nil {
		e.storage.Revoke(ctx, slot, t.Digest)
	}
	return issued, err
}

type lenientRefresh struct{ refresher }

func (l lenientRefresh) Refresh(ctx context.Context, c tokenauth.Credentials) (tokenauth.IssuedToken, error) {
	c.RefreshToken = tokenauth.NewSecret(strings.TrimRight(strings.TrimSpace(c.RefreshToken.Reveal()), "="))
	return l.refresher.Refresh(ctx, c)
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
