package main

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// revocationLatency measures how soon a replica refuses a token in its cache after
// another replica has revoked that token. The replicas are separate processes that
// read the same clock.
func revocationLatency(tb testing.TB, p plan, r *report) {
	revocations := 2500
	if p.short {
		revocations = 300
	}
	t := &table{
		title: "Revocation latency on another replica",
		about: fmt.Sprintf("Time in milliseconds from the return of Revoke on one replica to the first refusal on another replica, which validates the cached token repeatedly, with pauses of some microseconds; %s revocations each. "+
			"Missed are tokens that were still valid after a second. The %d writers are in another process, where each sign-in ends a token.", decimal(float64(revocations), 0), writers),
		head: []string{"", "p50", "p99", "max", "missed"},
	}
	for _, kind := range []string{"postgres", "redis"} {
		err := throwaway.Outside(tb.Context(), func(tb testing.TB) {
			dsn := ""
			if kind == "postgres" {
				dsn = throwaway.StartPostgres(tb).DSN()
			} else {
				dsn = throwaway.Redis(tb)
			}
			revokeOn(tb, t, r, kind, dsn, "quiet", revocations)
			startChild(tb, &struct{}{}, "writers", kind, dsn)
			revokeOn(tb, t, r, kind, dsn, fmt.Sprint(writers, " writers"), revocations)
		})
		if errors.Is(err, throwaway.ErrMissing) {
			r.skip("revocation on "+kind, err)
		} else if err != nil {
			tb.Fatal(err)
		}
	}
	r.table(t)
}

// revokeOn revokes tokens on one replica, measures how soon another replica refuses
// them, and adds a row to the table.
func revokeOn(tb testing.TB, t *table, r *report, kind, dsn, circumstances string, revocations int) {
	writer := startChild(tb, &struct{}{}, "replica", kind, dsn)
	reader := startChild(tb, &struct{}{}, "replica", kind, dsn)
	defer writer.stop()
	defer reader.stop()
	ask := func(p *process, o order) (answer replicaAnswer) {
		if err := errors.Join(p.send(o), p.receive(&answer)); err != nil {
			tb.Fatal(o.Do, ": ", err)
		}
		return answer
	}
	accessTokens := ask(writer, order{Do: "issue", Count: revocations}).AccessTokens
	var latencies []float64
	missed := 0
	for _, accessToken := range accessTokens {
		ask(reader, order{Do: "watch", AccessToken: accessToken}) // returns when the token is in the cache
		revoked := ask(writer, order{Do: "revoke", AccessToken: accessToken}).At
		var refused replicaAnswer
		if err := reader.receive(&refused); err != nil {
			tb.Fatal(err)
		}
		if refused.At == 0 {
			missed++
			continue
		}
		// The reader may refuse the token before Revoke returns in the writer.
		// The latency then counts as 0.
		latencies = append(latencies, max(0, float64(refused.At-revoked)/1e6))
	}
	if bypasses := ask(reader, order{Do: "bypasses"}).Bypasses; bypasses > 0 {
		r.skip(kind+", "+circumstances, fmt.Sprint(bypasses, " validations bypassed the reader's cache; the figures below are too low"))
	}
	slices.Sort(latencies)
	if len(latencies) == 0 {
		tb.Fatalf("on %s, the reader still accepted every token a second after its revocation", kind)
	}
	p50, p99, last := latencies[len(latencies)/2], latencies[len(latencies)*99/100], latencies[len(latencies)-1]
	t.add(kind+", "+circumstances, decimal(p50, 3), decimal(p99, 3), decimal(last, 3), fmt.Sprint(missed))
	name := "revocation_" + kind
	if circumstances != "quiet" {
		name += "_busy"
	}
	r.ratio(name+"_p50_ms", p50)
	r.ratio(name+"_p99_ms", p99)
	r.ratio(name+"_max_ms", last)
	r.ratio(name+"_missed", float64(missed))
}
