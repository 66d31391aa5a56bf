package tokenauth

import (
	"context"
	"crypto/rand"
	"errors"
	"time"
)

const (
	// nameKept is how long a name counts after the service last stored it. A
	// service that stopped longer ago shares the storage no more.
	nameKept = 48 * time.Hour
	// nameRenewed is how much of that is left when a service stores its name again.
	nameRenewed = 24 * time.Hour
)

// lookForOthers stores the name of this service, and logs each other name in the
// storage once, until the context ends. A storage that is not a Lister cannot show
// the names, and gets none.
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

// compareNames looks once, and then stores the own name if it is not there or has
// become old. Of many replicas, so one stores it, once a day.
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
			s.options.Logger.WarnContext(ctx, "tokenauth: another service keeps its tokens in the same storage: each accepts the other's tokens, and a sign-in at one ends the user's token at the other. Give each service a prefix of its own (gormstore.Options.TablePrefix, redisstore.Options.Prefix); or, if they are meant to share users and tokens, the same tokenauth.Options.Name",
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
		err = nil // of one name; the others are there
	}
	return stored, err
}

// storeName stores a token that nobody has: its digest is no access token's.
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
	rand.Read(t.Digest[:]) // never fails: it would end the process
	return s.storage.Replace(call, t)
}
