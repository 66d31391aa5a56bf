package throwaway

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// postgres is the [engine] for PostgreSQL 13 and later.
type postgres struct{}

func (postgres) name() string { return "postgres" }

func (postgres) commands(dir string) (setup, serve []string, err error) {
	bin, ok := postgresFolder()
	if !ok {
		return nil, nil, errMissing("no PostgreSQL server found; to get one: apt-get install postgresql, or brew install postgresql")
	}
	data := filepath.Join(dir, "data")
	setup = []string{
		filepath.Join(bin, "initdb"),
		"-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync",
	}
	serve = []string{
		filepath.Join(bin, "postgres"),
		"-D", data, "-k", dir, "-p", "5432", "-c", "listen_addresses=", "-c", "max_connections=400", "-c", "fsync=off",
	}
	return setup, serve, nil
}

// postgresFolder returns the folder of the server programs, which is often not
// in PATH. It accepts only a folder with initdb and postgres, because some
// folders have only the client.
func postgresFolder() (string, bool) {
	if !supported {
		return "", false
	}
	folders := newest("/usr/lib/postgresql/*/bin")
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		folders = append(folders, strings.TrimSpace(string(out)))
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		folders = append(folders, filepath.Dir(path))
	}
	for _, place := range []string{"/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin"} {
		folders = append(folders, newest(place)...)
	}
	for _, folder := range folders {
		if executable(filepath.Join(folder, "initdb")) && executable(filepath.Join(folder, "postgres")) {
			return folder, true
		}
	}
	return "", false
}

// signals returns SIGQUIT as the kill signal, because SIGKILL would leave the
// server's shared memory behind. Five seconds after SIGQUIT, the server itself
// sends SIGKILL to backends that are paused.
func (postgres) signals() (stop, kill syscall.Signal) {
	return syscall.SIGINT, syscall.SIGQUIT
}

// release removes the shared memory of a killed server. The server itself would
// remove this memory at its next start, but it is not started again.
func (postgres) release(dir string) {
	if id, ok := sharedMemory(dir); ok {
		exec.Command("ipcrm", "-m", id).Run()
	}
}

// sharedMemory returns the ID of the shared memory of a server that did not
// shut down cleanly.
func sharedMemory(dir string) (id string, ok bool) {
	pidFile, _ := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	lines := strings.Split(string(pidFile), "\n")
	if len(lines) < 7 {
		return "", false
	}
	key := strings.Fields(lines[6]) // the key and the ID of the shared memory
	if len(key) != 2 {
		return "", false
	}
	return key[1], true
}

func (postgres) admin(dir string) string {
	query := url.Values{"host": {dir}, "port": {"5432"}} // without the port, the client would use PGPORT
	return "postgres://postgres@/postgres?" + query.Encode()
}

func (postgres) database(dsn, name string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", err
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "", fmt.Errorf("the DSN is not a postgres:// URL")
	}
	u.Path = "/" + name
	return u.String(), nil
}

func (e postgres) connect(dsn string) (connection, error) { return e.open(dsn) }

func (postgres) open(dsn string) (*sql.DB, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	return stdlib.OpenDB(*config), nil
}

func (postgres) drop(ctx context.Context, db *sql.DB, name string) error {
	_, err := db.ExecContext(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	return err
}
