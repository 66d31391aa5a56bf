// Anystore is the quickstart with all storages. It takes longer to compile than
// the quickstart.
//
//	go run ./examples/quickstart/anystore [-addr HOST:PORT] [-store STORE] [-cache] [-throttle=off]
//
// STORE is sqlite:PATH, memory:, postgres://…, mysql://…, redis://…, rediss://…
// or unix://PATH (a Redis socket). With Redis, the store holds only the tokens; the
// users are in memory and are created again at each start.
package main

import (
	"fmt"
	"strings"

	"github.com/bearerkit/bearerkit/examples/quickstart/service"
)

func main() {
	service.Main("anystore", map[string]service.Open{
		"memory":     service.OpenMemory,
		"sqlite":     service.OpenSQLite,
		"postgres":   openPostgres,
		"postgresql": openPostgres,
		"mysql":      openMySQL,
		"redis":      openRedis,
		"rediss":     openRedis,
		"unix":       openRedis,
	})
}

// needsURL returns an error unless the value of -store is a URL of the database.
func needsURL(storeURL string) error {
	scheme, rest, _ := strings.Cut(storeURL, ":")
	if !strings.HasPrefix(rest, "//") {
		return fmt.Errorf("-store %[1]s needs a URL, such as %[1]s://user:password@localhost/database", scheme)
	}
	return nil
}

// invalidURL is the error for a URL that cannot be parsed. The parser's error would
// contain the password.
func invalidURL(scheme string) error {
	return fmt.Errorf("-store is not a valid %s:// URL; it is not printed here because it may contain a password", scheme)
}
