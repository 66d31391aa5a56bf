package gormstore

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// errNotKept means that [Users.SetPassword] cannot keep a token.
var errNotKept = fmt.Errorf("gormstore: a token to keep is not in this database, or has ended, or was issued without the user's current stamp; the password was not changed: %w", tokenauth.ErrInvalidToken)

// SetPassword sets the user's password and ends all the user's tokens, except those in
// keep. So a user who changes their own password stays signed in if keep is the token
// of the request ([tokenauth.FromContext]). Without keep, for example to reset a
// forgotten password, all tokens end.
//
// It returns these errors, and then changes nothing:
//
//   - [password.ErrUnacceptable] for a password that cannot be used.
//   - [ErrInvalid], wrapped, if a token in keep belongs to another user.
//   - [tokenauth.ErrInvalidToken], wrapped, if a token in keep cannot be kept: it is
//     stored elsewhere, or has ended meanwhile, or was issued without the user's
//     current stamp (see [Users.Principal]). Call SetPassword without keep then, and
//     sign the user in again.
//
// The kept access token does not change, and expires when it would have. With
// [tokenauth.Options.LiveCheck] it is valid throughout the change.
//
// SetPassword does not reset the counters of failed sign-ins. If the user is throttled
// because of failed sign-ins, also call [tokenauth.Service.Unthrottle].
func (u *Users) SetPassword(ctx context.Context, id string, newPassword tokenauth.Secret, keep ...tokenauth.Token) error {
	for i := range keep {
		switch {
		case keep[i].Digest.IsZero():
			return errNotKept // the token of a request that Options.Fallback authenticated
		case keep[i].Slot.User != tokenauth.UserKeyOf(id):
			return fmt.Errorf("%w: a token to keep does not belong to user %q", ErrInvalid, id)
		}
	}
	hash, err := password.Hash(newPassword.Reveal())
	if err != nil {
		return err
	}
	stamp := newStamp()
	e := u.ending(id, `UPDATE tokenauth_users SET password_hash = ?, stamp = ? WHERE id = ?`, hash, stamp, id)
	if len(keep) == 0 {
		return u.changed(ctx, id, u.changeAndEnd(ctx, e))
	}
	e.deleteTokens = "" // would end the kept tokens, too
	err = u.transaction(ctx, func(pool gorm.ConnPool) error {
		kept, err := u.keep(ctx, pool, id, stamp, keep)
		if err != nil {
			return err
		}
		if err := u.changeAndEndIn(ctx, pool, e); err != nil {
			return err
		}
		_, err = pool.ExecContext(ctx, u.sql(deleteTokensOfUser+` AND stamp <> ?`+u.dialect.unlimited), e.key, kept)
		return err
	})
	return u.changed(ctx, id, err)
}

// keep gives the tokens the stamp that tokens have after the user's stamp was changed to
// stamp. It returns that stamp. If one of the tokens is not stored with the user's
// current stamp, keep changes nothing and returns errNotKept.
//
// Comparing the stamp ensures that keep never renews a token that an earlier change
// must end. In a Galera cluster, such a token may still be stored.
func (u *Users) keep(ctx context.Context, pool gorm.ConnPool, id, stamp string, tokens []tokenauth.Token) (kept string, err error) {
	if err := u.checkIsolation(ctx, pool); err != nil {
		return "", err
	}
	row, err := u.read(ctx, pool, `id`, u.dialect.update, id)
	if err != nil {
		return "", err
	}
	account := row.account()
	before := account.Principal().Stamp
	account.Stamp = stamp
	kept = account.Principal().Stamp

	key := tokenauth.UserKeyOf(id)
	stored := make(map[string]bool) // the client keys and digests of the user's tokens
	err = queryRows(ctx, pool, u.sql(`SELECT client_key, digest FROM tokenauth_tokens WHERE user_key = ? AND stamp = ?`+u.dialect.update), []any{key[:], before},
		func(scan func(...any) error) error {
			var client, digest []byte
			err := scan(&client, &digest)
			stored[string(client)+string(digest)] = true
			return err
		})
	if err != nil {
		return "", err
	}
	for i := range tokens {
		if !stored[string(tokens[i].Slot.Client[:])+string(tokens[i].Digest[:])] {
			return "", errNotKept
		}
	}
	for i := range tokens {
		_, err := pool.ExecContext(ctx, u.sql(`UPDATE tokenauth_tokens SET stamp = ? WHERE user_key = ? AND client_key = ? AND digest = ?`),
			kept, key[:], tokens[i].Slot.Client[:], tokens[i].Digest[:])
		if err != nil {
			return "", err
		}
	}
	return kept, nil
}
