package throwaway

import (
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// StartPgBouncer starts PgBouncer for this test only, in front of a database
// from [Postgres] or [StartPostgres]. PgBouncer is removed when the test ends.
// Start it after the database, so that it is removed before the database. The
// DSN of the result leads to the same database, through PgBouncer. PgBouncer
// signs all its clients in to the database as the user in dsn.
//
// The settings are lines for the "pgbouncer" section of its configuration, such
// as "pool_mode = session", which is the default. With "default_pool_size = 1"
// all clients share one connection.
func StartPgBouncer(tb testing.TB, dsn string, settings ...string) *Server {
	tb.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		tb.Fatal(err)
	}
	return start(tb, pgbouncer{database: config, settings: settings})
}

// pgbouncer is the [program] for PgBouncer in front of one database.
type pgbouncer struct {
	database *pgx.ConnConfig
	settings []string
}

func (pgbouncer) name() string { return "pgbouncer" }

func (p pgbouncer) commands(dir string) (setup, serve []string, err error) {
	server, ok := find([]string{"pgbouncer"}, "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", "/usr/local/bin")
	if !ok || !supported {
		return nil, nil, errMissing("no PgBouncer found; to get one: apt-get install pgbouncer, or brew install pgbouncer")
	}
	file := filepath.Join(dir, "pgbouncer.ini")
	d := p.database
	to := "host=" + iniValue(d.Host) + " port=" + strconv.Itoa(int(d.Port)) + " user=" + iniValue(d.User)
	if d.Password != "" {
		to += " password=" + iniValue(d.Password)
	}
	setup = []string{
		"sh", "-c", `umask 077 && printf '%s\n' "$@" >"$0"`, file,
		"[databases]",
		"* = " + to,
		"[pgbouncer]",
		"listen_addr =", "listen_port = " + pgbouncerPort, "unix_socket_dir = " + dir,
		"auth_type = any", "max_client_conn = 400",
	}
	setup = append(setup, p.settings...)
	return setup, []string{server, file}, nil
}

const pgbouncerPort = "6432"

func iniValue(value string) string { return "'" + strings.ReplaceAll(value, "'", "''") + "'" }

// signals returns SIGTERM as the stop signal, because PgBouncer does not wait
// for its clients after SIGTERM.
func (pgbouncer) signals() (stop, kill syscall.Signal) { return syscall.SIGTERM, syscall.SIGKILL }

func (p pgbouncer) admin(dir string) string {
	u := url.URL{
		Scheme: "postgres", User: url.User(p.database.User), Path: "/" + p.database.Database,
		RawQuery: url.Values{"host": {dir}, "port": {pgbouncerPort}}.Encode(),
	}
	return u.String()
}

// connect returns a connection to the database through PgBouncer. The caller
// pings it.
func (p pgbouncer) connect(dsn string) (connection, error) {
	db, err := postgres{}.open(dsn)
	if err != nil {
		return nil, err
	}
	return db, nil
}
