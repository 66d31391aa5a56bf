package throwaway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// FilterPushes wraps conn, a client's RESP3 connection to Redis. The result
// passes on all answers. But like some proxies, it drops push messages: those
// for which the function drop returns true. It calls drop once for each push
// message, in order.
func FilterPushes(conn net.Conn, drop func() bool) net.Conn {
	return &pushFilter{Conn: conn, reader: bufio.NewReader(conn), drop: drop}
}

type pushFilter struct {
	net.Conn
	reader *bufio.Reader
	rest   []byte // the part of the last message that was not delivered yet
	drop   func() bool
}

func (c *pushFilter) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		message, err := readMessage(c.reader)
		if err != nil {
			return 0, err
		}
		const push = '>'
		if message[0] != push || !c.drop() {
			c.rest = message
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// readMessage reads one RESP3 message, and returns its bytes unchanged.
func readMessage(r *bufio.Reader) ([]byte, error) {
	message, err := r.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	kind := message[0]
	length, err := strconv.Atoi(strings.TrimSpace(string(message[1:])))
	switch kind {
	case '$', '=', '!': // length counts bytes
		if err != nil || length < 0 {
			return message, err
		}
		rest := make([]byte, length+len("\r\n"))
		_, err := io.ReadFull(r, rest)
		return append(message, rest...), err
	case '*', '>', '~', '%': // length counts messages
		if err != nil {
			return nil, err
		}
		if kind == '%' {
			length *= 2
		}
		for range length {
			part, err := readMessage(r)
			if err != nil {
				return nil, err
			}
			message = append(message, part...)
		}
	case '+', '-', ':', '_', ',', '#', '(':
	default:
		return nil, fmt.Errorf("throwaway: a RESP3 message begins with %q, which is not a known type", message)
	}
	return message, nil
}
