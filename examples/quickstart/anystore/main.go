// Anystore is the quickstart with all storages. It takes longer to compile.
//
//	go run ./examples/quickstart/anystore [-addr HOST:PORT] [-store STORE] [-cache] [-throttle=off]
//
// STORE is sqlite:PATH, memory:, postgres://…, mysql://…, redis://…, rediss://…
// or unix://PATH, a socket of Redis. With Redis, only the tokens are in the store.
// The users are in memory, and each start of the program creates them again.
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
