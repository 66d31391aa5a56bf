package gormstore

var (
	NormalizeUserName = normalizeUserName
	ErrNoFeed         = errNoFeed
	ErrIsolationLevel = errIsolationLevel
	ErrSetting        = errSetting
	ErrMemory         = errMemory
	ErrPooler         = errPooler
)
