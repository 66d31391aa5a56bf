package main

import (
	"bytes"
	"context"
	"database/sql"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func TestStrictOnDatabases(t *testing.T) {
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			r := &report{out: new(bytes.Buffer)}
			lone := new(table)
			strictOn(t, plan{rounds: 1, cycles: 1, slice: 2 * time.Millisecond, short: true}, r, d, []int{1, 4, 16}, lone)
			if rows := r.tables[0].rows; len(rows) != 3 {
				t.Errorf("got table rows %q, want 3", rows)
			}
			if len(lone.rows) != 1 {
				t.Errorf("got rows of single validations %q, want 1", lone.rows)
			}
			for _, suffix := range []string{"_1", "_4", ""} {
				want := "RATIO strict_" + d.short + "_vs_prepared" + suffix + " "
				if !strings.Contains(strings.Join(r.ratios, "\n")+"\n", want) {
					t.Errorf("the report has no %sin %q", want, r.ratios)
				}
			}
		})
	}
}

// The counter agrees with the number of connections that the server reports.
func TestCounterAgreesWithServer(t *testing.T) {
	t.Parallel()
	const atOnce, again = 7, 3
	dsn := throwaway.Postgres(t)
	observer := openCounted(t, postgresql, dsn+"&application_name=observer")
	pool := openCounted(t, postgresql, dsn)
	hold := func(n int) (release func()) {
		var conns []*sql.Conn
		for range n {
			c, err := pool.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
		}
		return func() {
			for _, c := range conns {
				c.Close()
			}
		}
	}
	release := hold(atOnce)
	var seen int64
	if err := observer.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name <> 'observer'`).Scan(&seen); err != nil {
		t.Fatal(err)
	}
	release() // the pool keeps two connections
	hold(again)()
	if most := pool.connections.most.Load(); most != seen || seen != atOnce {
		t.Errorf("got at most %d connections, server reports %d, want %d for both", most, seen, atOnce)
	}
	if opened := pool.connections.opened.Load(); opened != atOnce+again-2 {
		t.Errorf("got %d opened connections, want %d", opened, atOnce+again-2)
	}
}

func TestStoresOverHTTP(t *testing.T) {
	var chosen []store
	for _, s := range stores() {
		if s.short == memoryStore || s.short == sqlite.short {
			chosen = append(chosen, s)
		}
	}
	r := &report{out: new(bytes.Buffer)}
	storesOn(t, plan{rounds: 1, cycles: 1, short: true}, r, chosen, []int{1, 8})
	if len(r.tables) != 2 {
		t.Fatalf("got %d tables, want 2", len(r.tables))
	}
	for _, table := range r.tables {
		for _, row := range table.rows {
			if answers := row[len(row)-1]; !strings.HasPrefix(answers, "200: ") || strings.Contains(answers, ",") && strings.Contains(answers, "none") {
				t.Errorf("%s: got row %q, want only 200", table.title, row)
			}
		}
	}
	for _, want := range []string{"http_me_sqlite_vs_memory_8 ", "http_me_sqlite_p99_ms_8 ", "http_me_sqlite_p50_ms_1 ", "http_me_sqlite_not_200 0"} {
		if !strings.Contains(strings.Join(r.ratios, "\n"), "RATIO "+want) {
			t.Errorf("the report has no RATIO %s in %q", want, r.ratios)
		}
	}
}

// A load counts every response by its status, and requests without a response.
func TestLoadCountsEveryAnswer(t *testing.T) {
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) % 4 {
		case 0:
			w.WriteHeader(http.StatusNoContent)
		case 1:
			http.Error(w, strings.Repeat("busy ", 100), http.StatusServiceUnavailable)
		case 2:
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		case 3:
			w.Write([]byte("ok"))
		}
	}))
	defer server.Close()
	address := server.Listener.Addr().String()
	l, err := serving{address, [][]byte{[]byte("GET / HTTP/1.1\r\nHost: " + address + "\r\n\r\n")}}.load(4)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	seen := make([]tally, len(l.conns))
	l.answered = func(connection, status int, took time.Duration) error {
		seen[connection].add(status, took)
		return nil
	}
	if err := l.run(amount{total: 400}); err != nil {
		t.Fatal(err)
	}
	got := result(seen)
	if want := "none: 100, 200: 100, 204: 100, 503: 100"; got.answers() != want || got.notOK() != 300 {
		t.Errorf("got responses %s with %d not OK, want %s with 300", got.answers(), got.notOK(), want)
	}
}

// roundTrip reads a response that arrives in several pieces.
func TestRoundTripReadsWholeResponse(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\nhello\r\n\r\nyo"
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	context.AfterFunc(ctx, func() { server.Close() })
	wg.Go(func() {
		request := make([]byte, 8)
		for range 2 {
			server.Read(request)
			for i := range answer {
				server.Write([]byte{answer[i]})
			}
		}
	})
	buffer := make([]byte, 256)
	for range 2 {
		if status, err := roundTrip(client, []byte("GET /"), buffer); status != 200 || err != nil {
			t.Errorf("got status %d, error %v, want 200", status, err)
		}
	}
	client.Close()
	wg.Wait()
}
