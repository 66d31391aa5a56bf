package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

const strictPostgresName = "this project, strict on PostgreSQL"

// overHTTP measures requests per second over loopback. Each server is a separate
// process. This process sends requests to the servers in turn.
func overHTTP(tb testing.TB, p plan, r *report) {
	p = p.of(150*time.Millisecond, max(1, p.cycles/4))
	const connections = 32
	names := []string{bareName, oursName, ginJWTName}
	dsn := ""
	if err := throwaway.Outside(tb.Context(), func(inner testing.TB) { throwaway.Postgres(inner) }); err != nil {
		r.skip(strictPostgresName+" over HTTP", err)
	} else {
		dsn = throwaway.Postgres(tb)
		names = append(names, strictPostgresName)
	}
	var operations []operation
	for _, name := range names {
		var s serving
		startChild(tb, &s, "serve", name, dsn)
		l, err := s.load(connections)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(l.close)
		l.answered = func(_, status int, _ time.Duration) error {
			if status != http.StatusNoContent {
				return fmt.Errorf("the server answered with status %d, want 204", status)
			}
			return nil
		}
		operations = append(operations, operation{name: name, run: l.run, least: 2 * connections})
	}
	figures, err := p.compare(operations...)
	if err != nil {
		tb.Fatal(err)
	}
	t := &table{
		title: "Over HTTP",
		about: fmt.Sprintf("Requests per second of a server in a separate process, over loopback, %d connections with keep-alive "+
			"and one request at a time on each; the load generator uses the same %d cores. Median and spread of %d rounds.",
			connections, cores(), p.rounds),
		head: []string{"", "requests/s", "min–max", "to bare"},
	}
	by := named(figures)
	for _, f := range figures {
		t.add(append(append([]string{f.name}, rates(f)...), times(by[bareName].over(f)))...)
	}
	r.table(t)
	r.ratio("http_cached_vs_bare", by[bareName].over(by[oursName]))
	r.ratio("http_gin_jwt_vs_bare", by[bareName].over(by[ginJWTName]))
	if f, ok := by[strictPostgresName]; ok {
		r.ratio("http_strict_postgres_vs_bare", by[bareName].over(f))
	}
}

// serving is the message that a server sends to its parent when it is ready.
type serving struct {
	Address  string
	Requests [][]byte // the bytes of valid HTTP/1.1 requests
}

// serveContestant is the role of a child that serves one contestant.
func serveContestant(tb testing.TB, args []string, ready func(any)) {
	name, dsn := args[0], args[1]
	users := users(64)
	var c contestant
	if name == strictPostgresName {
		s := storeOn(tb, postgresql, openCounted(tb, postgresql, dsn).DB)
		c = ours(tb, name, service(tb, s, nil), users)
	} else {
		for _, m := range contestants {
			if m.name == name {
				c = m.make(tb, name, users)
			}
		}
	}
	if err := c.check(users); err != nil {
		tb.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	server := &http.Server{Handler: c.handler}
	tb.Cleanup(func() { server.Close() })
	go server.Serve(listener)

	s := serving{Address: listener.Addr().String()}
	for _, r := range c.good {
		r.Host = s.Address
		var wire bytes.Buffer
		if err := r.Write(&wire); err != nil {
			tb.Fatal(err)
		}
		s.Requests = append(s.Requests, wire.Bytes())
	}
	ready(s)
	untilParentEnds()
}
