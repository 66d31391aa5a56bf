package gormstore

import "github.com/bearerkit/bearerkit/tokenauth"

var (
	NormalizeUserName = normalizeUserName
	ErrNoFeed         = errNoFeed
	ErrIsolationLevel = errIsolationLevel
	ErrSetting        = errSetting
	ErrMemory         = errMemory
	ErrInterrupted    = errInterrupted
	ErrPooler         = errPooler
)

// BatchStatement returns the statement of FindBatch for two or more slots.
func (s *Store) BatchStatement(slots []tokenauth.Slot) (text string, args []any) {
	q, args := s.batch(s.findBatch, slots)
	return q.text, args
}

// UsesStatement returns the statement of RecordUses that reads the recorded uses.
func (s *Store) UsesStatement(slots []tokenauth.Slot) (text string, args []any) {
	q, args := s.batch(s.findUses, slots)
	return q.text, args
}

// FindRefreshStatement returns the statement of FindRefresh.
func (s *Store) FindRefreshStatement(slots []tokenauth.Slot) (text string, args []any) {
	q, args := s.batch(s.findRefresh, slots)
	return q.text, args
}

// RefreshStatement returns the statement of Refresh.
func (s *Store) RefreshStatement() string { return s.refresh.text }

// RenameStatement returns the statement of Rename.
func (s *Store) RenameStatement() string { return s.sql(renameToken) }

// ListStatement returns the statement of List.
func (s *Store) ListStatement() string { return s.list.text }

// SweepStatements returns the statements of RevokeUnused and Purge that look at two
// tables. Each has the range of a batch as its first arguments.
func (s *Store) SweepStatements() (revokeUnused, purgeUses string) {
	const batch = `user_key > ? AND user_key <= ? AND `
	return s.sql(`DELETE FROM tokenauth_tokens WHERE ` + batch + isUnused), s.sql(`SELECT user_key FROM tokenauth_uses WHERE ` + batch + isOrphan)
}

// ReplaceStatement returns the statement of Replace for tokens without the fields that
// version 6 of the schema added.
func (s *Store) ReplaceStatement() string { return s.replace.text }
