package throwaway

import (
	"net/url"
	"path/filepath"
	"testing"
)

// PostgresBehind is for a test with its own proxy in front of PostgreSQL. It
// returns the network and address of the server with the DSN, for [net.Dial].
// Via is the DSN of the same database through the proxy, which listens on the
// TCP address.
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
