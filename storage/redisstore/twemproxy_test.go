package redisstore_test

import (
	"bufio"
	"io"
	"net"
	"testing"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// rueidis sends HELLO with every option, and Twemproxy closes the connection
// then. So neither a store nor a feed works through Twemproxy, as the README
// says.
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
		t.Errorf("Twemproxy answers GET with %q, error %v, want $-1", answer, err)
	}
	if answer, err := say("*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n"); err == nil {
		t.Errorf("Twemproxy answers HELLO with %q, want a closed connection", answer)
	}
	for _, o := range []rueidis.ClientOption{{}, {AlwaysRESP2: true}, {ForceSingleClient: true}, {AlwaysRESP2: true, ForceSingleClient: true}} {
		o.InitAddress, o.DisableCache = []string{address}, true
		if client, err := rueidis.NewClient(o); err == nil {
			client.Close()
			t.Errorf("with AlwaysRESP2 %v and ForceSingleClient %v the client connects", o.AlwaysRESP2, o.ForceSingleClient)
		}
	}
}
