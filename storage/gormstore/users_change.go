package gormstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Rename gives the user another name, and ends all the user's tokens, because their
// principals have the old name. The new name may differ from the old one only in case.
//
// Rename returns [ErrInvalid], wrapped, for an invalid name, and [ErrExists], wrapped, if
// another user has the name. On PostgreSQL, roll your own transaction back then: if
// another transaction took the name at the same moment, no further statement can run
// in yours.
func (u *Users) Rename(ctx context.Context, id, newName string) error {
	key, err := u.newUserName(newName)
	if err != nil {
		return err
	}
	// The unique index decides. This read only makes its error rare, because the error
	// would end the caller's transaction on PostgreSQL.
	owner, err := u.read(ctx, u.pool(), `name_key`, "", key)
	switch {
	case err == nil && owner.ID != id:
		return errNameTaken
	case err != nil && !errors.Is(err, tokenauth.ErrNotFound):
		return err
	}
	err = u.change(ctx, id, `UPDATE tokenauth_users SET name = ?, name_key = ?, stamp = ? WHERE id = ?`, newName, key, newStamp(), id)
	if err != nil && duplicate(err) {
		return errNameTaken
	}
	return err
}

// SetRoles replaces the user's roles and ends all the user's tokens. It returns
// [ErrInvalid], wrapped, for an invalid role.
func (u *Users) SetRoles(ctx context.Context, id string, roles ...string) error {
	if err := checkRoles(roles); err != nil {
		return err
	}
	text := strings.Join(roles, ",")
	if err := u.dialect.fits("the list of roles", text, maxText); err != nil {
		return err
	}
	return u.change(ctx, id, `UPDATE tokenauth_users SET roles = ?, stamp = ? WHERE id = ?`, text, newStamp(), id)
}

// SetAttributes replaces all of the user's attributes. It ends all the user's tokens,
// because their principals have the old attributes, which may decide what the user may
// do. Keep values that change often, such as preferences, in a table of your own.
//
// SetAttributes returns [ErrInvalid], wrapped, for an attribute without a name, and for
// one that cannot be stored.
func (u *Users) SetAttributes(ctx context.Context, id string, attributes map[string]string) error {
	if err := checkAttributes(attributes); err != nil {
		return err
	}
	_, text, err := u.encode(nil, attributes)
	if err != nil {
		return err
	}
	return u.change(ctx, id, `UPDATE tokenauth_users SET attributes = ?, stamp = ? WHERE id = ?`, text, newStamp(), id)
}

// SetDisabled disables or enables the user, and ends all the user's tokens.
func (u *Users) SetDisabled(ctx context.Context, id string, disabled bool) error {
	return u.change(ctx, id, `UPDATE tokenauth_users SET disabled = ?, stamp = ? WHERE id = ?`, disabled, newStamp(), id)
}

// Delete removes the user and ends all the user's tokens, and the user's API keys that
// are stored in the same database. A user who is created later with the same name has
// another ID.
//
// [tokenauth.Keys.RevokeAll] ends API keys in another storage. It also removes what
// remains of imported ones, which are not valid any more.
func (u *Users) Delete(ctx context.Context, id string) error {
	e := u.ending(id, `DELETE FROM tokenauth_users WHERE id = ?`, id)
	e.deleteTokens = deleteTokensAndKeys
	return u.changed(ctx, id, u.changeAndEnd(ctx, e))
}

// change changes the user's row and then ends the user's tokens, in one transaction.
// A sign-in may store a token between these two steps. After storing it, the sign-in
// reads the user's row again, and that read waits for the commit (see [Users.Recheck]).
func (u *Users) change(ctx context.Context, id, statement string, args ...any) error {
	return u.changed(ctx, id, u.changeAndEnd(ctx, u.ending(id, statement, args...)))
}

func (u *Users) ending(id, statement string, args ...any) ending {
	key := tokenauth.UserKeyOf(id)
	return ending{revokesUser, id, errUserNotFound, statement, args, deleteTokensOfUser, key[:]}
}

// changed is called with the result of the transaction that changed the user.
//
// In a Galera cluster a sign-in does not wait for a transaction at another node, so
// changed ends tokens a second time after the commit, as [Clients] does.
func (u *Users) changed(ctx context.Context, id string, err error) error {
	if err != nil || u.tx != nil || !u.galera {
		return err
	}
	if err := u.endStale(ctx, id); err != nil {
		return fmt.Errorf("gormstore: user %s was changed, but some of the user's tokens may still be valid; Service.Run will end them, if it is running: %w", id, err)
	}
	return nil
}

// endStale ends the user's tokens, except those that were issued after the user was
// changed, or that a change kept. It reads the tokens before the user. So a token
// whose stamp differs from the user's has an earlier stamp, and must end unless a
// later change gives it another one meanwhile ([Users.SetPassword]).
func (u *Users) endStale(ctx context.Context, id string) error {
	tokens, _, err := listTokens(ctx, u.list, tokenauth.UserKeyOf(id)) // corrupt rows are not valid tokens
	if err != nil {
		return err
	}
	account, err := u.account(ctx, `id`, "", id) // without a user, account is zero: no token is valid
	if err != nil && !errors.Is(err, tokenauth.ErrNotFound) {
		return err
	}
	for _, t := range tokens {
		if account.StillValid(t.Principal) {
			continue
		}
		if _, err := u.exec(ctx, deleteToken+` AND stamp = ?`, t.Slot.User[:], t.Slot.Client[:], t.Digest[:], t.Principal.Stamp); err != nil {
			return err
		}
	}
	return nil
}
