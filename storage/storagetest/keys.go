package storagetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// keyClient is the client ID of the tokens that are API keys.
const keyClient = "\x01key"

// never is a later expiry than any key has.
var never = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// key returns an API key of the user; n makes its slot and its digest unique. The keys
// of its slot differ from those that [tokenauth.Service] uses, as for [onDevice].
func key(user string, n int) tokenauth.Token {
	t := token(user, keyClient, n)
	u, c := sha256.Sum256([]byte("storagetest keys of "+user)), sha256.Sum256(fmt.Appendf(nil, "storagetest key %d", n))
	t.Slot = tokenauth.Slot{User: tokenauth.UserKey(u[:16]), Client: tokenauth.ClientKey(c[:16])}
	t.DeviceName = fmt.Sprint("key ", n)
	t.ExpiresAt = never
	return t
}

func keys(ctx context.Context, s tokenauth.Storage) error {
	plain, limited, bare, others := key("alice", 1), key("alice", 2), key("alice", 3), key("bob", 4)
	plain.Principal.Roles, plain.Principal.Stamp = nil, ""
	limited.Principal.Attributes = map[string]string{"purpose": "reports"}
	limited.ExpiresAt = epoch.AddDate(7000, 0, 0)
	bare.DeviceName, bare.Principal.UserName = "", ""
	stays := []tokenauth.Token{plain, limited, bare, others}
	var ends []tokenauth.Token // the tokens of clients with similar IDs
	clients := []string{"", "web", "key", "\x01", "\x01ke", "\x01KEY", "\x01key ", "\x01key2", "\x01key%"}
	for i, client := range clients {
		phone := onDevice("alice", client, "phone", 200+i)
		phone.ExpiresAt = never
		ends = append(ends, phone, token("alice", client, 100+i))
	}
	if err := allTogether(ctx, s, append(ends, stays...)); err != nil {
		return err
	}
	if err := errors.Join(allHeld(ctx, s, ends), keysHeld(ctx, s, stays)); err != nil {
		return err
	}
	if err := s.RevokeUser(ctx, tokenauth.UserKeyOf("alice")); err != nil {
		return err
	}
	if err := errors.Join(areEmpty(ctx, s, ends), keysHeld(ctx, s, stays), allTogether(ctx, s, ends)); err != nil {
		return fmt.Errorf("after RevokeUser with the user's ordinary key: %w", err)
	}
	if r, ok := s.(tokenauth.UseRecorder); ok {
		used := &stays[0]
		used.LastSeen = useOf(*used, 5).At
		err := first(
			func() error { return record(ctx, r, useOf(*used, 5)) },
			func() error { return keysHeld(ctx, s, stays) },
			func() error { _, err := r.RevokeUnused(ctx, epoch.AddDate(20, 0, 0)); return err },
			func() error { return errors.Join(areEmpty(ctx, s, ends), keysHeld(ctx, s, stays)) },
			func() error { return allTogether(ctx, s, ends) },
		)
		if err != nil {
			return fmt.Errorf("after a use in hour 5, and RevokeUnused with a time after that: %w", err)
		}
	}
	if r, ok := s.(tokenauth.BulkRevoker); ok {
		for _, client := range clients {
			if err := r.RevokeClient(ctx, client); err != nil {
				return fmt.Errorf("RevokeClient returned an error: %w", err)
			}
		}
		if err := errors.Join(areEmpty(ctx, s, ends), keysHeld(ctx, s, stays)); err != nil {
			return fmt.Errorf("after RevokeClient of other clients: %w", err)
		}
	}
	if p, ok := s.(tokenauth.Purger); ok {
		if _, err := p.Purge(ctx, epoch.AddDate(6999, 0, 0)); err != nil {
			return fmt.Errorf("Purge returned an error: %w", err)
		}
		if err := keysHeld(ctx, s, stays); err != nil {
			return fmt.Errorf("after Purge with a time before the keys expire: %w", err)
		}
	}
	return first(
		func() error { return s.Revoke(ctx, plain.Slot, plain.Digest) },
		func() error { return isEmpty(ctx, s, plain.Slot) },
		func() error { return keysHeld(ctx, s, stays[1:]) },
		func() error { return s.RevokeUser(ctx, plain.Slot.User) },
		func() error { return areEmpty(ctx, s, stays[:3]) },
		func() error { return keysHeld(ctx, s, stays[3:]) },
	)
}

// keysHeld returns an error unless the storage holds the tokens, and List returns no
// others of their users.
func keysHeld(ctx context.Context, s tokenauth.Storage, tokens []tokenauth.Token) error {
	byUser := make(map[tokenauth.UserKey][]tokenauth.Token)
	for _, want := range tokens {
		byUser[want.Slot.User] = append(byUser[want.Slot.User], want)
		want.LastSeen = time.Time{} // only List sets it
		if err := holds(ctx, s, want); err != nil {
			return fmt.Errorf("a key of %s: %w", want.Principal.UserID, err)
		}
	}
	if l, ok := s.(tokenauth.Lister); ok {
		for u, want := range byUser {
			if err := listsOf(ctx, l, u, want[0].Principal.UserID, want...); err != nil {
				return err
			}
		}
	}
	return nil
}
