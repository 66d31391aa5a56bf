package storagetest

import (
	"context"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Check and CheckClients return the rules that a storage or a registry breaks,
// where Run and RunClients would fail the test.
var (
	Check        = check
	CheckClients = checkClients
)

// CheckRefresher is Check for the rules of a Refresher.
func CheckRefresher(ctx context.Context, open func() tokenauth.Storage) map[string]error {
	return checkSome(ctx, open, slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return !strings.Contains(r.name, "Refresh") }))
}
