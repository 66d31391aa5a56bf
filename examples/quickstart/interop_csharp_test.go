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

// csharp signs in with a C# client of an ASP.NET Web API, compiled and run by Mono.
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
			t.Fatalf("the client printed no report: %v", err)
		}
		return got
	}
}
