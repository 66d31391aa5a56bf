package tokenauth

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// validateKey returns the token for an API key. It is shared, so the caller must not
// modify it. With [ErrExpiredToken], validateKey also returns the expired token.
func (s *Service) validateKey(ctx context.Context, text string) (*Token, error) {
	digest, ok := s.keys.digest(text)
	if !ok {
		return nil, ErrInvalidToken
	}
	if cached, reading := s.cached(digest); cached != nil {
		return s.acceptKey(ctx, &cached.Token, &cached.mark, reading)
	}
	k, err := s.locate(ctx, text, digest)
	if err != nil {
		return nil, err
	}
	t, err := s.loadKey(ctx, k)
	if err != nil {
		return t, err
	}
	return s.acceptKey(ctx, t, nil, time.Now())
}

// acceptKey checks the expiry of a key that was found, and calls [Options.LiveCheck].
// It then notes that the key was used. The arguments are those of [Service.accept].
func (s *Service) acceptKey(ctx context.Context, t *Token, mark *atomic.Int64, reading time.Time) (*Token, error) {
	now := s.timeAt(reading)
	if t.expired(now) {
		return t, ErrExpiredToken
	}
	t, err := s.liveKey(ctx, t)
	if err == nil {
		s.keys.uses.note(t, mark, now)
	}
	return t, err
}

// loadKey returns a key and its owner's roles from the storage, through the cache if
// there is one.
func (s *Service) loadKey(ctx context.Context, k keyRef) (*Token, error) {
	if s.cache == nil {
		t, _, err := s.readKey(ctx, k)
		return t, err
	}
	if !s.cache.alive() {
		s.warnRunNotCalled(ctx)
	}
	t, err := s.cache.find(ctx, k.key, &k.digest, func(ctx context.Context, _ Slot) (t *Token, until int64, err error) {
		t, owner, err := s.readKey(ctx, k)
		if err == nil {
			until = owner.ExpiresAt.Unix()
		}
		return t, until, err
	})
	if err != nil && !errors.Is(err, ErrInvalidToken) && !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrInvalidPrincipal) && err != errPanic {
		err = unavailable("waiting for the look-up of a key", err) // the context ended
	}
	return t, err
}

// readKey returns a key, and the record of its owner, from the storage and not from the
// cache. Its errors are those of [Service.Validate].
func (s *Service) readKey(ctx context.Context, k keyRef) (t, owner *Token, err error) {
	key, found, err := s.lookups.findBoth(ctx, k.key, k.owner)
	if err == nil {
		err = key.Err
	}
	if err != nil {
		return nil, nil, s.loadError(ctx, err)
	}
	switch t := &key.Token; {
	case !equal(&t.Digest, &k.digest) || !t.isStoredKey():
		return nil, nil, ErrInvalidToken
	case t.expired(s.options.Now().Unix()):
		s.warnRunNotCalled(ctx)
		return s.keys.present(t), nil, ErrExpiredToken
	}
	if owner, err = s.ownerOf(ctx, k, &key.Token, &found); err != nil {
		if errors.Is(err, ErrInvalidToken) {
			t = s.keys.present(&key.Token) // names the user in the event
		}
		return t, nil, err
	}
	return s.keys.presentFor(&key.Token, owner), owner, nil
}

// liveKey calls [Options.LiveCheck]. If LiveCheck rejects the key because the record of
// its owner is old, liveKey renews the record, and calls LiveCheck once more. It returns
// the key with the owner's current roles.
func (s *Service) liveKey(ctx context.Context, t *Token) (*Token, error) {
	if s.options.LiveCheck == nil {
		return t, nil
	}
	rejected := s.askLiveCheck(ctx, t.clone())
	if !errors.Is(rejected, ErrInvalidToken) {
		return t, rejected
	}
	k := refOf(t)
	now, err := s.reloadOwner(ctx, ownerName{t.Principal.UserID, t.Principal.UserName})
	switch {
	case errors.Is(err, ErrInvalidToken), err == nil && t.isOf(&now):
		return t, rejected
	case err != nil:
		return t, err
	}
	if _, err := s.renewOwner(ctx, k, t); err != nil {
		return t, err
	}
	again, _, err := s.readKey(ctx, k)
	if err != nil {
		return t, err
	}
	return again, s.askLiveCheck(ctx, again.clone())
}
