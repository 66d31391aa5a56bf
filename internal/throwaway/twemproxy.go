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

// Twemproxy starts Twemproxy before a Redis server, for this test alone, on a
// port of the loopback address, and returns its address. It goes away with the
// test.
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

// twemproxy is the program of Twemproxy, which always takes a second port.
type twemproxy struct {
	port int
	file string // its configuration
}

const twemproxyStatistics = 1 // what is added to a port for the other one

func (twemproxy) name() string { return "twemproxy" }

func (p twemproxy) commands(string) (setup, serve []string, err error) {
	server, ok := find([]string{"nutcracker"}, "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
	if !ok || !supported {
		return nil, nil, errMissing("no Twemproxy found; to get one: apt-get install nutcracker, or brew install nutcracker")
	}
	return []string{"true"}, []string{server, "-c", p.file, "-a", "127.0.0.1", "-s", strconv.Itoa(p.port + twemproxyStatistics)}, nil
}

// sameAccount keeps a supervisor from running it as another account, which could
// not read its configuration.
func (twemproxy) sameAccount() {}

func (twemproxy) signals() (stop, kill syscall.Signal) { return syscall.SIGTERM, syscall.SIGKILL }

func (p twemproxy) admin(string) string { return "redis://" + loopback(p.port) }

// connect asks whether it listens, and the server behind it nothing.
func (p twemproxy) connect(string) (connection, error) { return nginxAddress(loopback(p.port)), nil }
