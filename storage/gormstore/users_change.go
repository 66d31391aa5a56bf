package gormstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// change changes the user's row and then ends the user's tokens, in one transaction.
// A sign-in may store a token between these two steps. After storing it, the sign-in
// reads the user's row again, and that read waits for the commit (see [Users.Recheck]).
//
// In a Galera cluster a sign-in does not wait for a transaction at another node, so
// change ends tokens a second time after the commit, as [Clients] does.
func (u *Users) change(ctx context.Context, id, statement string, args ...any) error {
	key := tokenauth.UserKeyOf(id)
	err := u.changeAndEnd(ctx, ending{revokesUser, id, errUserNotFound, statement, args, deleteTokensOfUser, key[:]})
	if err != nil || u.tx != nil || !u.galera {
		return err
	}
	if err := u.endStale(ctx, id); err != nil {
		return fmt.Errorf("gormstore: user %s was changed, but some of the user's tokens may still be valid; Service.Run will end them, if it is running: %w", id, err)
	}
	return nil
}

// endStale ends the user's tokens, except those that were issued after the user was
// changed.
func (u *Users) endStale(ctx context.Context, id string) error {
	account, err := u.account(ctx, `id`, "", id) // without a user, account is zero: no token is valid
	if err != nil && !errors.Is(err, tokenauth.ErrNotFound) {
		return err
	}
	tokens, _, err := listTokens(ctx, u.list, tokenauth.UserKeyOf(id)) // corrupt rows are not valid tokens
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
