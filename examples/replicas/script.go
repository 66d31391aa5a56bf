package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"time"
)

// A script checks in steps whether the replicas behave as the README promises. A
// step returns an error if they do not.
type script struct {
	out      io.Writer
	balancer string // its URL
	replicas []*process
	pool     *sql.DB // for the SQL that an operator executes

	alice    answer // her last sign-in
	operator answer
}

func (s *script) play(ctx context.Context) error {
	fmt.Fprintf(s.out, "Three replicas on one PostgreSQL, and a balancer on %s.\n", s.balancer)
	if err := s.feedsAlive(ctx); err != nil {
		return err
	}
	for i, step := range []struct {
		title string
		play  func(context.Context) error
	}{
		{"alice signs in through the balancer. All replicas accept the token", s.signInAlice},
		{"Validations are answered from memory", s.validateFromCache},
		{"alice signs in again. All replicas refuse the earlier token", s.replace},
		{"An operator revokes alice's tokens on one replica", s.revoke},
		{"An operator deletes a row by SQL", s.deleteRow},
		{"An attacker guesses bob's password through the balancer", s.guess},
		{"One replica is killed", s.kill},
	} {
		fmt.Fprintf(s.out, "\n%d. %s.\n", i+1, step.title)
		if err := step.play(ctx); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, step.title, err)
		}
	}
	fmt.Fprintln(s.out, "\nAll as promised.")
	return nil
}

func (s *script) say(format string, args ...any) { fmt.Fprintf(s.out, "   "+format+"\n", args...) }

func (s *script) signInAlice(ctx context.Context) (err error) {
	began := time.Now()
	s.alice, err = signIn(ctx, s.balancer, "alice", trialPassword)
	if err := s.alice.wanted(200, err); err != nil {
		return err
	}
	s.say("%s issued a token, in %v, most of it for hashing the password.", s.alice.replica(), time.Since(began).Round(time.Millisecond))
	if err := s.acceptedEverywhere(ctx); err != nil {
		return err
	}
	s.say("All three accept the first request with it.")
	return nil
}

func (s *script) validateFromCache(ctx context.Context) error {
	const n = 1000
	for _, r := range s.replicas {
		before, err := figures(ctx, r)
		if err != nil {
			return err
		}
		began := time.Now()
		for range n {
			a, err := call(ctx, "GET", r.url()+"/me", s.alice.AccessToken)
			if err := a.wanted(200, err); err != nil {
				return err
			}
		}
		took := time.Since(began)
		after, err := figures(ctx, r)
		if err != nil {
			return err
		}
		hits := after.Hits - before.Hits
		s.say("%s: %d requests, %d from the cache, %v each over HTTP.", r.name, n, hits, (took / n).Round(time.Microsecond))
		if hits < n*9/10 { // under load, change notifications may pause, and the replica then bypasses its cache
			return fmt.Errorf("%s answered %d of %d requests from the cache, want at least nine tenths", r.name, hits, n)
		}
	}
	return nil
}

func (s *script) replace(ctx context.Context) (err error) {
	old := s.alice
	s.alice, err = signIn(ctx, s.balancer, "alice", trialPassword)
	since := time.Now()
	if err := s.alice.wanted(200, err); err != nil {
		return err
	}
	if err := s.refusedEverywhere(ctx, old.AccessToken, since, s.alice.replica()+" answered"); err != nil {
		return err
	}
	return s.acceptedEverywhere(ctx)
}

func (s *script) revoke(ctx context.Context) (err error) {
	s.operator, err = signIn(ctx, s.balancer, "operator", trialPassword)
	if err := s.operator.wanted(200, err); err != nil {
		return err
	}
	one := s.replicas[1]
	a, err := call(ctx, "DELETE", one.url()+"/users/"+s.alice.UserID+"/tokens", s.operator.AccessToken)
	since := time.Now()
	if err := a.wanted(204, err); err != nil {
		return err
	}
	return s.refusedEverywhere(ctx, s.alice.AccessToken, since, one.name+" answered")
}

func (s *script) deleteRow(ctx context.Context) (err error) {
	if s.alice, err = signIn(ctx, s.balancer, "alice", trialPassword); err != nil {
		return err
	}
	for range 2 { // in the second pass, the replicas answer from their caches
		if err := s.acceptedEverywhere(ctx); err != nil {
			return err
		}
	}
	const statement = "DELETE FROM replicas_tokens WHERE user_name = 'alice'"
	result, err := s.pool.ExecContext(ctx, statement)
	since := time.Now()
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("the statement deleted %d rows, want 1; error: %v", n, err)
	}
	s.say("%s", statement)
	return s.refusedEverywhere(ctx, s.alice.AccessToken, since, "the statement")
}

// guess guesses bob's password until all three replicas refuse a guess without
// checking it.
func (s *script) guess(ctx context.Context) error {
	checked, throttled := 0, 0
	var retryAfter string
	for throttled < len(s.replicas) {
		a, err := signIn(ctx, s.balancer, "bob", fmt.Sprint("guess ", checked))
		switch {
		case err == nil && a.status == 429:
			throttled++
			retryAfter = a.header.Get("Retry-After")
		case err == nil && a.status == 400:
			checked, throttled = checked+1, 0
		default:
			return a.wanted(429, err)
		}
		if checked > 10 { // replicas that count failures separately would check 15
			return fmt.Errorf("%d guesses were checked, want at most 10", checked)
		}
	}
	s.say("%d guesses were checked, then all three replicas answered 429, Retry-After: %s.", checked, retryAfter)
	a, err := signIn(ctx, s.balancer, "alice", trialPassword)
	s.alice = a
	if err := a.wanted(200, err); err != nil {
		return err
	}
	s.say("alice signs in from the same address without a delay.")
	return nil
}

func (s *script) kill(ctx context.Context) error {
	dead := s.replicas[2]
	if err := dead.kill(); err != nil {
		return err
	}
	s.replicas = s.replicas[:2]
	const n = 30
	answered := make(map[string]int)
	for range n {
		a, err := call(ctx, "GET", s.balancer+"/me", s.alice.AccessToken)
		if err := a.wanted(200, err); err != nil {
			return err
		}
		answered[a.replica()]++
	}
	s.say("%s was killed. Of %d requests through the balancer, %s.", dead.name, n, shares(answered))
	if len(answered) != 2 || answered[dead.name] != 0 {
		return fmt.Errorf("the numbers of requests by replica are %v, want some at each remaining replica and none at %s", answered, dead.name)
	}
	return s.replace(ctx)
}
