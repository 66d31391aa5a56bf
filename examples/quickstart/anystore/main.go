// Anystore is the quickstart with all storages. It takes longer to compile than
// the quickstart.
//
//	go run ./examples/quickstart/anystore [-addr HOST:PORT] [-store STORE] [-cache] [-throttle=off]
//
// STORE is sqlite:PATH, memory:, postgres://…, mysql://…, redis://…, rediss://…
// or unix://PATH (a Redis socket). With Redis, the store holds only the tokens; the
// users are in memory and are created again at each start.
package main

import "github.com/bearerkit/bearerkit/examples/quickstart/service"

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
