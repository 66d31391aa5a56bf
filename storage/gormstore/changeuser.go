package gormstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// endingTime is how long ChangeUser may take to end tokens after the commit.
const endingTime = 10 * time.Second

// ChangeUser changes a user in your own users table, in the same database as the tokens,
// and ends all the user's tokens. It calls change with a new transaction, in which
// change makes its changes, for example sets a new password hash. The userID is
// [tokenauth.Principal.UserID].
//
//	err := store.ChangeUser(ctx, userID, func(tx *gorm.DB) error {
//		return tx.Model(&Employee{ID: id}).Update("password", hash).Error
//	})
//
// When ChangeUser returns nil, the change is committed, and no token that was issued
// before the change is valid. This includes tokens of sign-ins that were in progress, if
// the [tokenauth.Authenticator] is a [tokenauth.Rechecker] that reads the users table.
// (The Authenticator of package password is one.) A token that a sign-in with the
// changed user issues before ChangeUser returns may end, too. Processes with a cache,
// including this one, reject the tokens within [tokenauth.CacheOptions.Lease].
//
//   - If change returns an error, ChangeUser rolls everything back and returns that
//     error. The tokens stay valid.
//   - If the database rolls the transaction back because of a deadlock, or in a Galera
//     cluster because of a conflict, ChangeUser calls change again with a new
//     transaction. So change must do nothing that the rollback does not undo, such as
//     sending an email.
//   - The function change must use only tx, and must not commit it. The transaction has
//     the isolation level READ COMMITTED. Keep change short: another change of the same
//     rows waits for it.
//   - If the change was committed but a token of a concurrent sign-in may still be valid,
//     the error says so. Then [tokenauth.Service.RevokeUser] ends that token. Cancelling
//     ctx after the commit does not cause this error.
//   - After any other error, the database may have committed the change. Call ChangeUser
//     again.
//
// A Store from [Store.WithTx] returns an error and does not call change.
func (s *Store) ChangeUser(ctx context.Context, userID string, change func(tx *gorm.DB) error) error {
	switch {
	case s.tx != nil:
		return errors.New("gormstore: ChangeUser needs a transaction of its own: call it on the Store from New, not from WithTx")
	case userID == "":
		return fmt.Errorf("%w: ChangeUser was called with an empty user ID", ErrInvalid)
	}
	key := tokenauth.UserKeyOf(userID)
	var refused error // from change
	err := retry(ctx, s.tries(), func() error {
		refused = nil
		return s.begin(ctx, s.host, func(tx *gorm.DB) error {
			refused = change(tx)
			if refused != nil {
				return refused
			}
			_, err := tx.Statement.ConnPool.ExecContext(ctx, s.sql(deleteTokensOfUser+s.dialect.unlimited), key[:])
			return err
		})
	})
	if refused != nil {
		return refused
	}
	if err != nil {
		return fmt.Errorf("gormstore: changing user %s and ending the user's tokens: %w", userID, err)
	}
	// A sign-in may have stored its token after the tokens were deleted, and checked the
	// user again before the commit. It waits for no lock, because ChangeUser does not
	// know which rows change. So delete the tokens once more.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endingTime)
	defer cancel()
	if err := s.RevokeUser(ctx, key); err != nil {
		return fmt.Errorf("gormstore: user %s was changed, but a token of a concurrent sign-in may still be valid; call RevokeUser, which ends it: %w", userID, err)
	}
	return nil
}
