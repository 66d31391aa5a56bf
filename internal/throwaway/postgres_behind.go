package throwaway

import (
	"net/url"
	"path/filepath"
	"testing"
)

// PostgresBehind returns where the server with that DSN listens, for net.Dial, and
// the DSN by way of the TCP address, at which a test passes on what it likes.
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
