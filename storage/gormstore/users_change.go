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
	tokens, _, err := listTokens(ctx, u.list, tokenauth.UserKeyOf(id)) // others are not valid
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
