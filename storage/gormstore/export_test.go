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
	q, args := s.batch(slots)
	return q.text, args
}
