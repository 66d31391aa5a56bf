package tokenauth

import (
	"context"
	"crypto/rand"
	"errors"
	"time"
)

const (
	// nameKept is how long a name counts after its service last stored it. After
	// that, the service counts as stopped.
	nameKept = 48 * time.Hour
	// nameRenewed is how much of nameKept is left when a service stores its
	// name again.
	nameRenewed = 24 * time.Hour
)

// lookForOthers stores the name of this service, and logs each other name in
// the storage once. It repeats this until the context ends. It does nothing if
// the storage is not a [Lister], because then it cannot read the names.
func (s *Service) lookForOthers(ctx context.Context) {
	l, ok := s.storage.(Lister)
	if !ok || s.options.Name == "" {
		return
	}
	ticker := time.NewTicker(s.options.PurgeInterval)
	defer ticker.Stop()
	logged := map[string]bool{s.options.Name: true}
	for failed := false; ; {
		err := recoverPanic("the storage", func() error { return s.compareNames(ctx, l, logged) })
		if err != nil && !failed && ctx.Err() == nil {
			s.options.Logger.ErrorContext(ctx, "tokenauth: Run could not look for other services in the storage", "error", unavailable("comparing the names of services", err))
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// compareNames reads the stored names once, and logs each new name of another
// service. It then stores this service's own name if that is missing or old. So
// when there are many replicas, only one of them stores the name, once a day.
func (s *Service) compareNames(ctx context.Context, l Lister, logged map[string]bool) error {
	now := s.options.Now()
	stored, err := s.names(ctx, l)
	if err != nil {
		return err
	}
	fresh := false
	for i := range stored {
		t := &stored[i]
		name := t.Principal.UserName
		if t.Slot.User != reservedUser || t.expired(now.Unix()) {
			continue
		}
		if name == s.options.Name {
			fresh = t.ExpiresAt.Sub(now) > nameRenewed
		}
		if !logged[name] {
			logged[name] = true
			s.options.Logger.WarnContext(ctx, "tokenauth: another service keeps its tokens in the same storage: each accepts the other's tokens, and a sign-in at one ends the user's token at the other. Give each service its own prefix (gormstore.Options.TablePrefix, redisstore.Options.Prefix). If they are meant to share users and tokens, give them the same tokenauth.Options.Name instead",
				"name", s.options.Name, "other_name", legible(name))
		}
	}
	if fresh {
		return nil
	}
	return s.storeName(ctx, now)
}

func (s *Service) names(ctx context.Context, l Lister) ([]Token, error) {
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	stored, err := l.List(call, reservedUser)
	if errors.Is(err, ErrCorrupt) {
		err = nil // one name cannot be read: use the other names
	}
	return stored, err
}

// storeName stores the service's name as a token. The token has a random
// digest, so no access token matches it.
func (s *Service) storeName(ctx context.Context, now time.Time) error {
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	name := s.options.Name
	t := Token{
		Slot:      Slot{User: reservedUser, Client: nameKeyOf(name)},
		Principal: Principal{UserID: name, UserName: name},
		IssuedAt:  now.UTC().Truncate(time.Second),
	}
	t.ExpiresAt = t.IssuedAt.Add(nameKept)
	rand.Read(t.Digest[:]) // never returns an error
	return s.storage.Replace(call, t)
}
