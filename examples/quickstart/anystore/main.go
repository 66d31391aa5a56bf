// Anystore is the quickstart with all storages. It compiles longer.
//
//	go run ./examples/quickstart/anystore [-addr HOST:PORT] [-store STORE] [-cache] [-throttle=off]
//
// STORE is sqlite:PATH, memory:, postgres://…, mysql://…, redis://…, rediss://…
// or unix://PATH, a socket of Redis. Redis keeps tokens only: the users are then
// in memory, and each start creates them again.
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
