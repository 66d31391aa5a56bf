package throwaway

import (
	"net/url"
	"path/filepath"
	"testing"
)

// PostgresBehind is for a test that puts its own proxy in front of PostgreSQL.
// The proxy listens on the given TCP address. PostgresBehind returns the
// network and the address at which the proxy can reach the server in dsn with
// [net.Dial]. It also returns via, the DSN of the same database through the
// proxy.
func PostgresBehind(tb testing.TB, dsn, address string) (network, server, via string) {
	tb.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		tb.Fatal(err)
	}
	network, server = "tcp", u.Host
	query := u.Query()
	if dir := query.Get("host"); dir != "" {
		network, server = "unix", filepath.Join(dir, ".s.PGSQL."+query.Get("port"))
	}
	query.Del("host")
	query.Del("port")
	u.Host, u.RawQuery = address, query.Encode()
	return network, server, u.String()
}
