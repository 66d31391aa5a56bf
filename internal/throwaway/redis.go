package throwaway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// redis is the [program] for Redis or, if that is not installed, Valkey.
type redis struct{}

func (redis) name() string { return "redis" }

func (redis) commands(dir string) (setup, serve []string, err error) {
	return redisCommands(dir, "--port", "0", "--unixsocket", socket(dir))
}

func redisCommands(dir string, args ...string) (setup, serve []string, err error) {
	server, err := findRedis()
	if err != nil {
		return nil, nil, err
	}
	data := filepath.Join(dir, "data")
	serve = []string{server, "--dir", data, "--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction"}
	return []string{"mkdir", data}, append(serve, args...), nil
}

func findRedis() (server string, err error) {
	server, ok := find([]string{"redis-server", "valkey-server"},
		"/usr/sbin", "/opt/homebrew/opt/redis*/bin", "/usr/local/opt/redis*/bin")
	if !ok || !supported {
		return "", errMissing("no Redis server found; to get one: apt-get install redis-server, or brew install redis")
	}
	return server, nil
}

func (redis) signals() (stop, kill syscall.Signal) {
	return syscall.SIGTERM, syscall.SIGKILL
}

func (redis) admin(dir string) string { return (&url.URL{Scheme: "unix", Path: socket(dir)}).String() }

func (redis) connect(dsn string) (connection, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, err
	}
	return redisAddress{"unix", u.Path}, nil
}

// redisAddress is the address of a Redis server. Each command opens a new
// connection.
type redisAddress struct{ network, address string }

func (redisAddress) Close() error { return nil }

// PingContext returns an error until the server has loaded its data.
func (a redisAddress) PingContext(ctx context.Context) error {
	_, err := a.do(ctx, "PING")
	return err
}

// do sends a command and returns the answer, which must be a status or a
// string.
func (a redisAddress) do(ctx context.Context, command ...string) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, a.network, a.address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	request := fmt.Appendf(nil, "*%d\r\n", len(command))
	for _, arg := range command {
		request = fmt.Appendf(request, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := conn.Write(request); err != nil {
		return "", err
	}
	reply := bufio.NewReader(conn)
	line, err := reply.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, rest := line[0], strings.TrimSpace(line[1:])
	switch kind {
	case '+':
		return rest, nil
	case '$':
		size, err := strconv.ParseUint(rest, 10, 20)
		if err != nil {
			return "", err
		}
		text := make([]byte, size)
		_, err = io.ReadFull(reply, text)
		return string(text), err
	case '-':
		return "", errors.New(rest)
	}
	return "", fmt.Errorf("the answer to %s is %q, want a status or a string", command[0], line)
}
