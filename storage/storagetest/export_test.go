package storagetest

// Check is for tests that break a storage on purpose, CheckClients for those that
// break a registry.
var (
	Check        = check
	CheckClients = checkClients
)
