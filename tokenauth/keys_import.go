package tokenauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
)

const (
	// importedMark is the Device of a stored key that was imported.
	importedMark = "imported"
	// maxImported is the maximum length of an imported key in bytes.
	maxImported = 512
)

// Import stores a key that another system made, so that it stays valid. The digest is
// the SHA-256 of the whole key as clients send it, with its prefix. Set
// [KeyOptions.Imported], or the Service does not look for the key.
//
// The owner needs a UserID and a UserName. Of k, Import also reads the CreatedAt, so
// that lists have it. It checks neither that the user exists and has the Roles, which
// each use of the key does, nor [KeyOptions.Max]. The returned ID is not the
// beginning of the key, which Import does not know. Import reports no [Event].
//
// A second Import of the same digest for the same user replaces the first one, so a
// migration can run again. It must not run again after users have begun to end keys,
// because it would bring those back.
//
// The digest of a key that can be guessed reveals it. Do not import keys with less than
// 128 random bits: have their users make new ones.
//
//   - It returns [ErrInvalidPrincipal], wrapped with the name of the field, if the key
//     cannot be stored, or if its ExpiresAt is not in the future.
//   - It returns [ErrUnavailable] if the storage failed. Call it again then.
func (k *Keys) Import(ctx context.Context, owner Principal, digest Digest, key Key) (Key, error) {
	defer plainPanic()
	s := k.service
	if len(s.keys.Imported) == 0 {
		return Key{}, errors.New("tokenauth: Keys.Import needs KeyOptions.Imported")
	}
	t, err := s.newKey(&owner, &key)
	if err != nil {
		return Key{}, err
	}
	now := s.options.Now().UTC()
	t.IssuedAt = key.CreatedAt.UTC()
	switch {
	case digest.IsZero():
		return Key{}, fmt.Errorf("%w: the digest must be that of the key", ErrInvalidPrincipal)
	case t.IssuedAt.After(now):
		return Key{}, fmt.Errorf("%w: CreatedAt must not be in the future", ErrInvalidPrincipal)
	case key.CreatedAt.IsZero():
		t.IssuedAt = now
	}
	t.IssuedAt = withMilliseconds(t.IssuedAt)
	ref := importedRef(owner.UserID, digest)
	t.Slot, t.Digest, t.Device = ref.key, digest, importedMark
	// The pointer comes last: with it, the key is valid.
	pointer := Token{Slot: importedSlot(&digest), Digest: digest, ClientID: keyClient, Principal: Principal{UserID: owner.UserID}, IssuedAt: t.IssuedAt, ExpiresAt: t.ExpiresAt}
	for _, one := range []*Token{t, &pointer} {
		if err := s.replace(ctx, *one); err != nil {
			return Key{}, unavailable("importing a key", err)
		}
	}
	return s.keys.describe(t), nil
}

// importedSlot returns the slot of the pointer to an imported key. An imported key does
// not say which user it belongs to. The pointer's UserID does.
func importedSlot(d *Digest) Slot {
	return slotFrom(sha256.Sum256(append([]byte(pointerDomain), d[:]...)))
}

// importedRef returns the place of an imported key and of its owner's record.
func importedRef(userID string, d Digest) keyRef {
	user := UserKeyOf(userID)
	sum := sha256.Sum256(append([]byte(importedDomain), d[:]...))
	return keyRef{slotOfKey(user, accesstoken.KeyID(sum[:])), Slot{user, ownerClient}, d}
}

// isImported reports whether a string may be an imported key: it is no key or token of
// the Service's own form.
func (k *keyring) isImported(text string) bool {
	if k == nil || len(k.Imported) == 0 || text == "" || len(text) > maxImported || accesstoken.IsKey(k.Prefix, text) || k.isToken(text) {
		return false
	}
	return slices.ContainsFunc(k.Imported, func(prefix string) bool { return strings.HasPrefix(text, prefix) })
}

// locate returns the place of a key. For an imported one it asks the storage. It returns
// [ErrInvalidToken] for a string that is no key.
func (s *Service) locate(ctx context.Context, text string) (ref keyRef, err error) {
	if ref, ok := s.keys.parse(text); ok {
		return ref, nil
	}
	if !s.keys.isImported(text) {
		return ref, ErrInvalidToken
	}
	digest := Digest(sha256.Sum256([]byte(text)))
	pointer, err := s.read(ctx, importedSlot(&digest))
	switch {
	case err != nil:
		return ref, err
	case !equal(&pointer.Digest, &digest) || pointer.ClientID != keyClient:
		return ref, ErrInvalidToken
	}
	return importedRef(pointer.Principal.UserID, digest), nil
}

// revokePointer removes the pointer to an imported key that was revoked.
func (s *Service) revokePointer(ctx context.Context, t *Token) error {
	if t.Device != importedMark {
		return nil
	}
	return s.revoke(ctx, importedSlot(&t.Digest), t.Digest)
}

// pointersOf returns the user's keys that have a pointer.
func (s *Service) pointersOf(ctx context.Context, userID string) ([]Token, error) {
	if len(s.keys.Imported) == 0 {
		return nil, nil
	}
	tokens, err := s.listOf(ctx, UserKeyOf(userID).keys())
	if errors.Is(err, ErrCorrupt) {
		err = nil
	}
	return slices.DeleteFunc(slices.Clone(tokens), func(t Token) bool { return t.Device != importedMark }), err
}

// withMilliseconds returns a time in whole milliseconds that is not in whole seconds,
// because a storage may drop the name of a token without milliseconds.
func withMilliseconds(t time.Time) time.Time {
	t = t.Truncate(time.Millisecond)
	if t.Nanosecond() == 0 {
		t = t.Add(time.Millisecond)
	}
	return t
}
