package tokenauth

import "context"

// locate returns the place of a key with the digest that [keyring.digest] returned. For an
// imported one it asks the storage. It returns [ErrInvalidToken] for any other string.
func (s *Service) locate(ctx context.Context, text string, digest Digest) (ref keyRef, err error) {
	if ref, ok := s.keys.parse(text, digest); ok {
		return ref, nil
	}
	if !s.keys.isImported(text) {
		return ref, ErrInvalidToken
	}
	pointer, err := s.lookups.find(ctx, importedSlot(&digest))
	switch {
	case err != nil:
		return ref, s.loadError(ctx, err)
	case !equal(&pointer.Digest, &digest) || pointer.ClientID != keyClient:
		return ref, ErrInvalidToken
	}
	return importedRef(pointer.Principal.UserID, digest), nil
}
