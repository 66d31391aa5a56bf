package storagetest

// Check and CheckClients return the rules that a storage or a registry breaks,
// where Run and RunClients would fail the test.
var (
	Check        = check
	CheckClients = checkClients
)
