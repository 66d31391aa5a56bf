package tokenauth

import (
	"context"
	"errors"
	"fmt"
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
// migration can run again; an empty Name keeps the earlier name. It must not run again
// after users have begun to end keys, because it would bring those back. Do not import
// one digest for two users at the same time: one of them then has a key in the list that
// is not valid.
//
// The Service looks for keys of at most 512 bytes. The digest of a key that can be guessed
// reveals it. Do not import keys with less than
// 128 random bits: have their users make new ones.
//
//   - It returns [ErrInvalidPrincipal], wrapped with the name of the field, if the key
//     cannot be stored, if its ExpiresAt is not in the future, or if the key was imported
//     for another user.
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
	if err := s.checkImported(ctx, owner.UserID, digest); err != nil {
		return Key{}, err
	}
	ref := importedRef(owner.UserID, digest)
	t.Slot, t.Digest, t.Device = ref.key, digest, importedMark
	// The pointer comes last: with it, the key is valid.
	pointer := Token{Slot: importedSlot(&digest), Digest: digest, ClientID: keyClient, Principal: Principal{UserID: owner.UserID}, IssuedAt: now, ExpiresAt: t.ExpiresAt}
	for _, one := range []*Token{t, &pointer} {
		if err := s.replace(ctx, *one); err != nil {
			return Key{}, unavailable(importing, err)
		}
	}
	if key.Name == "" { // the storage may have kept an earlier one
		if t, err = s.lookups.find(ctx, ref.key); err != nil {
			return Key{}, unavailable(importing, err)
		}
	}
	return s.keys.describe(t), nil
}

const importing = "importing a key"

// checkImported returns [ErrInvalidPrincipal] if another user has a valid key with the
// digest.
func (s *Service) checkImported(ctx context.Context, userID string, digest Digest) error {
	pointer, err := s.lookups.find(ctx, importedSlot(&digest))
	if err == nil && pointer.Principal.UserID != userID {
		var t *Token
		t, err = s.lookups.find(ctx, importedRef(pointer.Principal.UserID, digest).key)
		if err == nil && !t.expired(s.options.Now().Unix()) {
			return fmt.Errorf("%w: a key with this digest was imported for another user", ErrInvalidPrincipal)
		}
	}
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrCorrupt) {
		return unavailable(importing, err)
	}
	return nil
}
