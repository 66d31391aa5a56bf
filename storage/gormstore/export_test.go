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

// ListStatement returns the statement of List.
func (s *Store) ListStatement() string { return s.list.text }

// ReplaceStatement returns the statement of Replace for tokens without the fields that
// version 6 of the schema added.
func (s *Store) ReplaceStatement() string { return s.replace.text }
