package gormstore

import "github.com/bearerkit/bearerkit/tokenauth"

var (
	NormalizeUserName = normalizeUserName
	ErrNoFeed         = errNoFeed
	ErrIsolationLevel = errIsolationLevel
	ErrSetting        = errSetting
	ErrMemory         = errMemory
	ErrPooler         = errPooler
)

// BatchStatement returns what FindBatch runs for two slots or more.
func (s *Store) BatchStatement(slots []tokenauth.Slot) (text string, args []any) {
	q, args := s.batch(slots)
	return q.text, args
}
