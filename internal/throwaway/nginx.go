package throwaway

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Nginx starts nginx for this test only, on a port of the loopback address. It
// returns the URL of nginx, without a path. The server is removed when the test
// ends.
//
// The argument server is the content of the only server block, without the
// listen directive. The texts in the argument http are inserted into the http
// block, before the server block. Relative paths, such as that of
// proxy_cache_path, are relative to a temporary folder. Nginx runs as the
// account of the test, so it can reach Unix sockets in a folder of the test.
func Nginx(tb testing.TB, server string, http ...string) string {
	tb.Helper()
	main, err := nginxMain()
	if err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(tb.TempDir(), "nginx.conf")
	s, err := startAtPort(func(port int) program {
		config := main + "http {\n" + nginxFiles + strings.Join(http, "\n") +
			"\nserver {\nlisten " + loopback(port) + ";\n" + server + "\n}\n}\n"
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			tb.Fatal(err)
		}
		return nginx{port, file}
	})
	if err != nil {
		giveUp(tb, nginx{}, err)
	}
	tb.Cleanup(s.close)
	return s.DSN()
}

// nginx is the [program] for nginx with one worker.
type nginx struct {
	port int
	file string // the path of its configuration
}

func (nginx) name() string { return "nginx" }

func (n nginx) commands(dir string) (setup, serve []string, err error) {
	server, ok := find([]string{"nginx"}, "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", "/usr/local/bin")
	if !ok || !supported {
		return nil, nil, errMissing("no nginx found; to get one: apt-get install nginx-light, or brew install nginx")
	}
	return []string{"true"}, []string{server, "-p", dir, "-c", n.file, "-e", "stderr"}, nil
}

// nginxMain returns the part of the configuration that is outside the http
// block. If the test runs as root, this part sets the user of the workers,
// which would otherwise run as another account.
func nginxMain() (string, error) {
	main := "daemon off;\nworker_processes 1;\npid pid;\nerror_log stderr;\nevents {}\n"
	if os.Geteuid() != 0 {
		return main, nil
	}
	root, err := user.LookupId("0")
	if err != nil {
		return "", err
	}
	group, err := user.LookupGroupId(root.Gid)
	if err != nil {
		return "", err
	}
	return "user " + root.Username + " " + group.Name + ";\n" + main, nil
}

// nginxFiles makes nginx write its temporary files to its own temporary folder.
// By default it writes them to system folders.
const nginxFiles = `access_log off;
client_body_temp_path body;
proxy_temp_path proxy;
fastcgi_temp_path fastcgi;
uwsgi_temp_path uwsgi;
scgi_temp_path scgi;
`

// sameAccount makes the supervisor run nginx as the account of the test.
func (nginx) sameAccount() {}

// signals returns SIGTERM both to stop and to kill nginx, because its workers
// would survive a SIGKILL of their master process.
func (nginx) signals() (stop, kill syscall.Signal) { return syscall.SIGTERM, syscall.SIGTERM }

func (n nginx) admin(string) string { return "http://" + loopback(n.port) }

func (n nginx) connect(string) (connection, error) { return nginxAddress(loopback(n.port)), nil }

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

type nginxAddress string

func (nginxAddress) Close() error { return nil }

func (a nginxAddress) PingContext(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", string(a))
	if err != nil {
		return fmt.Errorf("the server does not listen on its port: %w", err)
	}
	return conn.Close()
}
