package throwaway

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Twemproxy starts the Twemproxy proxy in front of a Redis server, for this
// test only. It returns the proxy's address: a port of the loopback address.
// The proxy is removed when the test ends.
func Twemproxy(tb testing.TB, behind *Server) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "nutcracker.yml")
	s, err := startAtPort(func(port int) program {
		socket := strings.TrimPrefix(behind.DSN(), "unix://")
		config := fmt.Sprintf("redis:\n  listen: %s\n  redis: true\n  servers:\n  - %s:1 server\n", loopback(port), socket)
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			tb.Fatal(err)
		}
		return twemproxy{port, file}
	}, twemproxyStatistics)
	if err != nil {
		giveUp(tb, twemproxy{}, err)
	}
	tb.Cleanup(s.close)
	return strings.TrimPrefix(s.DSN(), "redis://")
}

// twemproxy is the [program] for Twemproxy, which always needs a second port,
// for statistics.
type twemproxy struct {
	port int
	file string // the path of its configuration
}

const twemproxyStatistics = 1 // the offset from the client port to the statistics port

func (twemproxy) name() string { return "twemproxy" }

func (p twemproxy) commands(string) (setup, serve []string, err error) {
	server, ok := find([]string{"nutcracker"}, "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
	if !ok || !supported {
		return nil, nil, errMissing("no Twemproxy found; to get one: apt-get install nutcracker, or brew install nutcracker")
	}
	return []string{"true"}, []string{server, "-c", p.file, "-a", "127.0.0.1", "-s", strconv.Itoa(p.port + twemproxyStatistics)}, nil
}

// sameAccount makes the supervisor run Twemproxy as the account of the test.
// Another account could not read the configuration file.
func (twemproxy) sameAccount() {}

func (twemproxy) signals() (stop, kill syscall.Signal) { return syscall.SIGTERM, syscall.SIGKILL }

func (p twemproxy) admin(string) string { return "redis://" + loopback(p.port) }

// connect returns a connection whose ping only checks that Twemproxy listens.
// It does not reach the server behind Twemproxy.
func (p twemproxy) connect(string) (connection, error) { return nginxAddress(loopback(p.port)), nil }
