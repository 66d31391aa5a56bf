package redisstore_test

import (
	"bufio"
	"io"
	"net"
	"testing"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// The client says HELLO whatever its option, and Twemproxy closes connections
// that do, so neither a store nor a feed can be behind it. The README says so.
func TestNoClientConnectsThroughTwemproxy(t *testing.T) {
	t.Parallel()
	address := throwaway.Twemproxy(t, throwaway.StartRedis(t))
	say := func(command string) (string, error) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, command); err != nil {
			t.Fatal(err)
		}
		return bufio.NewReader(conn).ReadString('\n')
	}
	if answer, err := say("*2\r\n$3\r\nGET\r\n$1\r\nx\r\n"); answer != "$-1\r\n" {
		t.Errorf("to GET it answers %q, error %v", answer, err)
	}
	if answer, err := say("*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n"); err == nil {
		t.Errorf("to HELLO it answers %q", answer)
	}
	for _, o := range []rueidis.ClientOption{{}, {AlwaysRESP2: true}, {ForceSingleClient: true}, {AlwaysRESP2: true, ForceSingleClient: true}} {
		o.InitAddress, o.DisableCache = []string{address}, true
		if client, err := rueidis.NewClient(o); err == nil {
			client.Close()
			t.Errorf("with AlwaysRESP2 %v and ForceSingleClient %v it connects", o.AlwaysRESP2, o.ForceSingleClient)
		}
	}
}
