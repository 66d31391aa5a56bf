package store

import (
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func TestMain(m *testing.M) { os.Exit(throwaway.Main(m)) }

// The DSN leads to the primary, and to the standby when that is it.
func TestDSNOfAPairNamesBothServers(t *testing.T) {
	t.Parallel()
	b, err := Open(t, "postgres-standby:")
	if err != nil {
		t.Fatal(err)
	}
	config, err := pgconn.ParseConfig(b.DSN)
	if err != nil {
		t.Fatal(err)
	}
	if len(config.Fallbacks) != 1 || config.Fallbacks[0].Host == config.Host || config.ValidateConnect == nil || config.ConnectTimeout != time.Second {
		t.Errorf("%s leads to %s, %v", b.DSN, config.Host, config.Fallbacks)
	}
}
