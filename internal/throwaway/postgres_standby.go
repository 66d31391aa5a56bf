package throwaway

import (
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// StartPostgresStandby starts a hot standby of a server that [StartPostgres]
// started, for this test only. The standby's DSN leads to its copy of the same
// database. Replication uses a replication slot. It is asynchronous unless the
// test sets synchronous_standby_names on the primary. SELECT pg_promote() makes
// the standby a primary.
func StartPostgresStandby(tb testing.TB, primary *Server) *Server {
	tb.Helper()
	s := start(tb, postgresStandby{primary: primary})
	s.dsn = s.engine.(postgresStandby).sameDatabase(tb, s.admin)
	return s
}

// RejoinPostgres makes s a standby of the primary, as operators do with an old
// primary. The server s comes from [StartPostgres] or [StartPostgresStandby].
// RejoinPostgres kills s if it is running, replaces the data of s with a copy
// of the primary's data, and starts s again at the same address.
func RejoinPostgres(tb testing.TB, s, primary *Server) {
	tb.Helper()
	s.Kill(tb)
	s.mu.Lock()
	defer s.mu.Unlock()
	setup, _, err := postgresStandby{primary: primary}.commands(s.supervisor.dir)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.setup(setup); err != nil {
		tb.Fatal(err)
	}
}

// PrimaryDSN returns a DSN with the addresses of two servers: one from
// [StartPostgres] and its standby. A client that uses the DSN connects to
// whichever server is the primary at that time. The DSN's connect_timeout is
// one second.
func PrimaryDSN(tb testing.TB, a, b *Server) string {
	tb.Helper()
	u, err := url.Parse(a.DSN())
	if err != nil {
		tb.Fatal(err)
	}
	other, err := url.Parse(b.DSN())
	if err != nil {
		tb.Fatal(err)
	}
	query := u.Query()
	for _, name := range []string{"host", "port"} {
		query.Set(name, query.Get(name)+","+other.Query().Get(name))
	}
	query.Set("target_session_attrs", "read-write")
	query.Set("connect_timeout", "1")
	u.RawQuery = query.Encode()
	return u.String()
}

// postgresStandby is the [engine] for a PostgreSQL server that starts as a
// standby.
type postgresStandby struct {
	postgres
	primary *Server
}

// copyPrimary copies the primary's data. It empties the data folder instead of
// replacing it, so that the folder keeps its inode. PostgreSQL uses the inode
// to find and remove the shared memory of a killed server.
const copyPrimary = `mkdir -p -m 700 "$1" && find "$1" -mindepth 1 -delete && exec "$2" -D "$1" -h "$3" -S "$4" ` +
	`-p 5432 -U postgres -w -C -R -X stream -c fast --no-sync`

func (e postgresStandby) commands(dir string) (setup, serve []string, err error) {
	if _, serve, err = e.postgres.commands(dir); err != nil {
		return nil, nil, err
	}
	setup = []string{
		"/bin/sh", "-c", copyPrimary, "copy", filepath.Join(dir, "data"),
		filepath.Join(filepath.Dir(serve[0]), "pg_basebackup"), e.primary.supervisor.dir, "standby_" + random(),
	}
	return setup, serve, nil
}

// sameDatabase returns the DSN of the standby's copy of the primary's database.
func (e postgresStandby) sameDatabase(tb testing.TB, admin string) string {
	tb.Helper()
	u, err := url.Parse(e.primary.dsn)
	if err != nil {
		tb.Fatal(err)
	}
	dsn, err := e.database(admin, strings.TrimPrefix(u.Path, "/"))
	if err != nil {
		tb.Fatal(err)
	}
	return dsn
}
