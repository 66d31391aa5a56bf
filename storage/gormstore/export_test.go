package gormstore

var (
	NormalizeUserName = normalizeUserName
	ErrNoFeed         = errNoFeed
	ErrIsolationLevel = errIsolationLevel
	ErrPooler         = errPooler
)
