package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStartFails(t *testing.T) {
	t.Parallel()
	file := func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "identity.db") }
	ofCore := file(t)
	db, err := open(ofCore)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Exec(coreSQL).Error; err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	pool.Close()

	for name, test := range map[string]struct{ addr, identity, store, says string }{
		"unknown layout":     {"127.0.0.1:0", "3", file(t), "-identity must be"},
		"wrong layout":       {"127.0.0.1:0", "2", ofCore, "LockoutEndDateUtc"},
		"not loopback":       {"0.0.0.0:0", "2", file(t), "users to try are created only"},
		"unknown store":      {"127.0.0.1:0", "2", "sqlserver://x", "-store must begin with"},
		"unreachable server": {"127.0.0.1:0", "2", "postgres://nobody:hunter2@127.0.0.1:1/x", "connect"},
		"invalid DSN":        {"127.0.0.1:0", "2", "mysql://nobody:hunter2@nowhere", "DSN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel() // ends run if it serves instead of failing
			err := run(ctx, test.addr, test.identity, false, false, test.store)
			if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("run returned the error %v, want one with %q and without the password", err, test.says)
			}
		})
	}
}
