package gormstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// change changes the user's row first and then ends the tokens. A sign-in that
// stores its token in between looks at the row again, and waits for us there.
//
// In a Galera cluster a sign-in does not wait for a transaction at another node. So
// the tokens end once more after the commit, as those of a client do: see
// Clients.end.
func (u *Users) change(ctx context.Context, id, statement string, args ...any) error {
	key := tokenauth.UserKeyOf(id)
	err := u.changeAndEnd(ctx, ending{revokesUser, id, errUserNotFound, statement, args, deleteTokensOfUser, key[:]})
	if err != nil || u.tx != nil || !u.galera {
		return err
	}
	if err := u.endStale(ctx, id); err != nil {
		return fmt.Errorf("gormstore: user %s was changed, but not all tokens have ended yet: a running Service.Run ends them: %w", id, err)
	}
	return nil
}

// endStale ends the user's tokens, but for those of whoever has signed in since the
// user was changed.
func (u *Users) endStale(ctx context.Context, id string) error {
	account, err := u.account(ctx, `id`, "", id) // the zero Account has no valid token
	if err != nil && !errors.Is(err, tokenauth.ErrNotFound) {
		return err
	}
	tokens, err := u.tokens(ctx, id)
	if err != nil {
		return err
	}
	for _, t := range tokens {
		if account.StillValid(t.Principal) {
			continue
		}
		if _, err := u.exec(ctx, deleteToken, t.Slot.User[:], t.Slot.Client[:], t.Digest[:]); err != nil {
			return err
		}
	}
	return nil
}

// tokens returns the user's tokens that can be read. Others are not valid.
func (u *Users) tokens(ctx context.Context, id string) (tokens []tokenauth.Token, err error) {
	r := tokenRows.Get().(*tokenRow)
	defer r.free()
	key := tokenauth.UserKeyOf(id)
	rows, err := u.pool().QueryContext(ctx, u.sql(selectTokensOfUser+u.dialect.unlimited), key[:])
	if err != nil {
		return nil, err
	}
	err = readRows(rows, func(scan func(...any) error) error {
		if t, err := r.read(scan); err == nil {
			tokens = append(tokens, t)
		}
		return nil
	})
	return tokens, err
}
