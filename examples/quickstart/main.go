// Quickstart serves the Token API, with two accounts to try it out.
//
//	go run ./examples/quickstart [-addr HOST:PORT] [-store sqlite:PATH|memory:] [-cache] [-throttle=off]
//
// It includes only the storages that compile fast. The program in the subfolder
// anystore has the same code and flags, and includes all storages.
package main

import "github.com/bearerkit/bearerkit/examples/quickstart/service"

func main() {
	service.Main("quickstart", map[string]service.Open{
		"memory": service.OpenMemory,
		"sqlite": service.OpenSQLite,
	})
}
