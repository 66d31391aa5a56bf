package gormstore

import (
	"context"
	"crypto/rand"

	"gorm.io/gorm"
)

// The values of the column kind in the table of revocations.
const (
	revokesUser   = 1
	revokesClient = 2
)

// queueRevocation adds a row to the table of revocations: the tokens of a user or client
// must end. The caller commits the row together with the change of the user or client.
// Each user or client has at most one row, with a random ID for its last change.
func (s session) queueRevocation(ctx context.Context, pool gorm.ConnPool, kind int, id string) error {
	_, err := pool.ExecContext(ctx, s.sql(`INSERT INTO tokenauth_revocations (kind, id, change_id) VALUES (?, ?, ?)`+s.dialect.newestChange),
		kind, id, rand.Text())
	return err
}

// revocationPage is the maximum number of revocations that one call of
// PendingRevocations returns.
const revocationPage = 1000

// revocations calls add for the rows of the given kind whose ID is greater than after.
// It does so in the order of the IDs, for at most revocationPage rows.
func (s session) revocations(ctx context.Context, kind int, after string, add func(id, change string)) error {
	query := s.sql(`SELECT id, change_id FROM tokenauth_revocations WHERE kind = ? AND id > ?` + s.dialect.primary + ` ORDER BY id LIMIT ?`)
	return queryRows(ctx, s.pool(), query, []any{kind, after, revocationPage}, func(scan func(...any) error) error {
		var id, change string
		if err := scan(&id, &change); err != nil {
			return err
		}
		add(id, change)
		return nil
	})
}

func (s session) removeRevocation(ctx context.Context, kind int, id, change string) error {
	_, err := s.exec(ctx, `DELETE FROM tokenauth_revocations WHERE kind = ? AND id = ? AND change_id = ?`, kind, id, change)
	return err
}
