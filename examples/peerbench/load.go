package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// A load sends requests to a server, and needs little CPU time for that: it writes
// prepared bytes, and parses only the status and the length of a response.
type load struct {
	address  string
	requests [][]byte
	conns    []net.Conn

	// answered is called after each request, on the goroutine of its connection.
	// The status is that of the response, or 0 if there was no response.
	answered func(connection, status int, took time.Duration) error
}

func (s serving) load(connections int) (*load, error) {
	l := &load{address: s.Address, requests: s.Requests}
	for range connections {
		conn, err := net.Dial("tcp", s.Address)
		if err != nil {
			l.close()
			return nil, err
		}
		l.conns = append(l.conns, conn)
	}
	return l, nil
}

func (l *load) close() {
	for _, c := range l.conns {
		c.Close()
	}
}

// run sends requests on all connections, one request at a time on each connection.
func (l *load) run(a amount) error {
	return spread(len(l.conns), a, 1, func(g int) func(int) error {
		buffer := make([]byte, 4<<10)
		return func(i int) error {
			began := time.Now()
			status, err := roundTrip(l.conns[g], l.requests[(g*7+i)%len(l.requests)], buffer)
			took := time.Since(began)
			if err != nil {
				status = 0
				l.conns[g].Close()
				conn, err := net.Dial("tcp", l.address)
				if err != nil {
					return err
				}
				l.conns[g] = conn
			}
			return l.answered(g, status, took)
		}
	})
}

// roundTrip sends a request and returns the status of the response. The buffer
// must have room for the whole response.
func roundTrip(conn net.Conn, request, buffer []byte) (status int, err error) {
	if _, err := conn.Write(request); err != nil {
		return 0, err
	}
	for n := 0; n < len(buffer); {
		m, err := conn.Read(buffer[n:])
		if err != nil {
			return 0, err
		}
		n += m
		head, body, ok := bytes.Cut(buffer[:n], []byte("\r\n\r\n"))
		if !ok {
			continue
		}
		status, length, err := parseHead(head)
		if err != nil {
			return 0, err
		}
		if len(body) >= length {
			return status, nil
		}
	}
	return 0, errors.New("the response is longer than the buffer")
}

// parseHead parses the status line and the headers of a response from net/http.
func parseHead(head []byte) (status, length int, err error) {
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	text, ok := bytes.CutPrefix(line, []byte("HTTP/1.1 "))
	if !ok || len(text) < 3 {
		return 0, 0, fmt.Errorf("the server answered %q, want HTTP/1.1 with a status", head)
	}
	if status, err = strconv.Atoi(string(text[:3])); err != nil || status == 204 {
		return status, 0, err
	}
	_, value, ok := bytes.Cut(fields, []byte("Content-Length: "))
	if !ok {
		return 0, 0, fmt.Errorf("the response has no Content-Length: %q", head)
	}
	value, _, _ = bytes.Cut(value, []byte("\r\n"))
	length, err = strconv.Atoi(string(value))
	return status, length, err
}
