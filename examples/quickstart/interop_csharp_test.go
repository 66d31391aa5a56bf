package main_test

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

var compileCSharp sync.Once

func csharpProgram() string { return filepath.Join(programs, "client.exe") }

// csharp signs in as a client of an ASP.NET Web API does, compiled and run by
// Mono.
func csharp(way string) func(*testing.T, target) seen {
	return func(t *testing.T, at target) (got seen) {
		t.Helper()
		for _, program := range []string{"mcs", "mono"} {
			if _, err := exec.LookPath(program); err != nil {
				throwaway.Need(t, "mono", errors.New("needs Mono; to get it: apt-get install mono-mcs mono-runtime libmono-system-net-http4.0-cil libmono-system-runtime-serialization4.0-cil"))
			}
		}
		compileCSharp.Do(func() {
			run(t, at, nil, "mcs", "-out:"+csharpProgram(), "-r:System.Net.Http", "-r:System.Runtime.Serialization", "csharp_httpclient.cs")
		})
		if err := json.Unmarshal(run(t, at, nil, "mono", csharpProgram(), way), &got); err != nil {
			t.Fatalf("it does not print what it has seen: %v", err)
		}
		return got
	}
}
