package store

import (
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func TestMain(m *testing.M) { os.Exit(throwaway.Main(m)) }

// The DSN must connect to whichever of both servers is the primary.
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
		t.Errorf("the DSN %s names the host %s and the fallbacks %v, want two hosts, a check for the primary and connect_timeout=1", b.DSN, config.Host, config.Fallbacks)
	}
}
