package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/accesstoken"
	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
)

// A demand is a kind of request.
type demand int

const (
	validToken demand = iota
	uncertainToken
	endedToken
	forgedToken
	rightPassword
	wrongPassword
	revocation
	userRevocation
	refreshing
)

func (d demand) String() string {
	return [...]string{"valid token", "uncertain token", "ended token", "forged token", "sign in", "wrong password", "revoke", "revoke user", "refresh"}[d]
}

// expects reports whether the demand may be answered with the status, also during a
// fault.
func (d demand) expects(status int) bool {
	switch status {
	case http.StatusServiceUnavailable:
		return true
	case http.StatusOK:
		return d != forgedToken && d != wrongPassword && d != userRevocation
	case http.StatusNoContent:
		return d == userRevocation
	case http.StatusUnauthorized:
		return d <= forgedToken // the oracle judges whether it is right
	case http.StatusBadRequest:
		return d == forgedToken || d == wrongPassword || d == refreshing
	}
	return false
}

// An httpAnswer is the result of a request.
type httpAnswer struct {
	status int // zero for no answer
	body   []byte
	err    error
}

// unsent reports whether the request certainly did not reach the replica.
func (a httpAnswer) unsent() bool {
	op, ok := errors.AsType[*net.OpError](a.err)
	return ok && op.Op == "dial"
}

func (a httpAnswer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return fmt.Sprint("status ", a.status)
}

// effect returns what the answer shows about a change.
func (a httpAnswer) effect() effect {
	switch {
	case a.status == http.StatusOK || a.status == http.StatusNoContent:
		return changed
	case a.unsent() || a.status == http.StatusUnauthorized || a.status == http.StatusForbidden || a.status == http.StatusBadRequest:
		return unchanged
	}
	return ambiguous
}

// pair returns the tokens of an answer to a sign-in or a refresh, or "".
func (a httpAnswer) pair() (accessToken, refreshToken string) {
	var grant struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	if a.status != http.StatusOK || json.Unmarshal(a.body, &grant) != nil {
		return "", ""
	}
	return grant.AccessToken, grant.RefreshToken
}

func (a httpAnswer) accessToken() string {
	accessToken, _ := a.pair()
	return accessToken
}

func (s *runner) send(ctx context.Context, method, url, bearer string, form url.Values) (a httpAnswer) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(form.Encode()))
	if err != nil {
		return httpAnswer{err: err}
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := s.client.Do(r)
	if err != nil {
		return httpAnswer{err: err}
	}
	defer response.Body.Close()
	a.body, a.err = io.ReadAll(response.Body)
	if a.err == nil {
		a.status = response.StatusCode
	}
	return a
}

func (s *runner) signIn(ctx context.Context, replica, user, password string, at int) httpAnswer {
	return s.send(ctx, "POST", replica+"/Token", "", url.Values{
		"grant_type": {"password"}, "username": {user}, "password": {password}, "client_id": {host.Client(at)},
	})
}

func (s *runner) me(ctx context.Context, replica, accessToken string) httpAnswer {
	return s.send(ctx, "GET", replica+"/me", accessToken, nil)
}

func userName(n int) string { return fmt.Sprint("user-", n) }

// draw draws a random request to a random replica, for a slot and token that the oracle
// picks.
func (s *runner) draw(rng *rand.Rand) func(ctx context.Context, due time.Time) {
	n := s.nodes[rng.IntN(len(s.nodes))]
	chance := rng.IntN(1000)
	refresh := chance >= 880 && chance < 920
	slot, token := s.oracle.pick(rng, chance < 700 || refresh && chance < 910 || chance >= 920 && rng.IntN(2) == 0)
	switch {
	case token != nil && refresh:
		return func(ctx context.Context, due time.Time) { s.tryRefresh(ctx, due, n, token) }
	case token == nil || chance >= 860 && chance < 920:
		return func(ctx context.Context, due time.Time) { s.trySignIn(ctx, due, n, slot) }
	case chance < 800:
		return func(ctx context.Context, due time.Time) { s.tryToken(ctx, due, n, token) }
	case chance < 850:
		forged := accesstoken.Forge(rng, token.text)
		return func(ctx context.Context, due time.Time) { s.tryForged(ctx, due, n, token, forged) }
	case chance < 860:
		return func(ctx context.Context, due time.Time) { s.tryWrongPassword(ctx, due, n, slot) }
	case chance < 994:
		return func(ctx context.Context, due time.Time) { s.tryRevocation(ctx, due, n, token) }
	default:
		return func(ctx context.Context, due time.Time) { s.tryUserRevocation(ctx, due, n, slot.user) }
	}
}

func (s *runner) tryToken(ctx context.Context, due time.Time, n *node, t *oracleToken) {
	replica, start := n.where()
	l := s.oracle.looks(t, n.number, start)
	a := s.me(ctx, replica, t.text)
	s.count(s.oracle.demand(l), due, a)
	switch a.status {
	case http.StatusOK:
		s.judge(s.oracle.accepted(l))
		if got := string(a.body); got != userName(t.slot.user) {
			s.judge(fmt.Sprintf("replica %d accepted %v as one of %q", n.number, t, got))
		}
	case http.StatusUnauthorized:
		s.judge(s.oracle.refuses(l))
	}
}

func (s *runner) tryForged(ctx context.Context, due time.Time, n *node, t *oracleToken, forged string) {
	replica, _ := n.where()
	a := s.me(ctx, replica, forged)
	s.count(forgedToken, due, a)
	if a.status == http.StatusOK {
		s.judge(fmt.Sprintf("replica %d accepted a forgery of %v", n.number, t))
	}
}

func (s *runner) trySignIn(ctx context.Context, due time.Time, n *node, slot *oracleSlot) {
	replica, _ := n.where()
	c := s.oracle.signsIn(slot)
	a := s.signIn(ctx, replica, userName(slot.user), userName(slot.user), slot.client)
	s.count(rightPassword, due, a)
	if text, refresh := a.pair(); text != "" {
		s.followUpIssued(ctx, n, c, text, refresh)
		return
	}
	c.end(a.effect())
}

// followUpIssued ends a change that returned a pair, and follows it up.
func (s *runner) followUpIssued(ctx context.Context, n *node, c *change, text, refresh string) {
	issued, before := c.issued(text, refresh)
	s.followUp(ctx, n, issued)
	if before != nil {
		s.followUp(ctx, n, before)
	}
}

// tryRefresh refreshes. Without an answer, or after a 503, it tries again, at any
// replica. It stops when the refresh may have been repeated as often as it can be.
func (s *runner) tryRefresh(ctx context.Context, due time.Time, n *node, t *oracleToken) {
	c := s.oracle.refreshes(t)
	for began, unknown := time.Now(), 0; ; due = time.Now() {
		replica, _ := n.where()
		a := s.send(ctx, "POST", replica+"/Token", "", url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {t.refresh}, "client_id": {host.Client(t.slot.client)},
		})
		s.count(refreshing, due, a)
		if text, refresh := a.pair(); text != "" {
			s.followUpIssued(ctx, n, c, text, refresh)
			return
		}
		if a.status == http.StatusBadRequest {
			s.judge(c.refused())
			return
		}
		if !a.unsent() {
			unknown++
		}
		if unknown > maxRepeats || time.Since(began) > refreshGrace/2 || ctx.Err() != nil {
			c.end(ambiguous)
			return
		}
		pause(ctx, rand.N(200*time.Millisecond))
		n = s.nodes[rand.IntN(len(s.nodes))]
	}
}

// maxRepeats is how often a refresh can be repeated.
const maxRepeats = 3

// followUp sometimes validates a token after a change, at another replica. It does so
// at once, or when that replica's cache must have applied the change.
func (s *runner) followUp(ctx context.Context, n *node, t *oracleToken) {
	switch rand.IntN(4) {
	case 0:
		return
	case 1:
		pause(ctx, s.oracle.grace+trial.Allowance)
	}
	s.tryToken(ctx, time.Now(), s.nodes[(n.number+1+rand.IntN(len(s.nodes)-1))%len(s.nodes)], t)
}

func (s *runner) tryWrongPassword(ctx context.Context, due time.Time, n *node, slot *oracleSlot) {
	replica, _ := n.where()
	a := s.signIn(ctx, replica, userName(slot.user), "wrong", slot.client)
	s.count(wrongPassword, due, a)
}

func (s *runner) tryRevocation(ctx context.Context, due time.Time, n *node, t *oracleToken) {
	replica, _ := n.where()
	c := s.oracle.revokes(t)
	a := s.send(ctx, "POST", replica+"/revoke", "", url.Values{"token": {t.text}, "client_id": {host.Client(t.slot.client)}})
	s.count(revocation, due, a)
	c.end(a.effect())
	s.followUp(ctx, n, t)
}

func (s *runner) tryUserRevocation(ctx context.Context, due time.Time, n *node, user int) {
	replica, _ := n.where()
	c := s.oracle.revokesUser(user)
	a := s.send(ctx, "DELETE", replica+"/users/"+userName(user)+"/tokens", s.operator, nil)
	s.count(userRevocation, due, a)
	c.end(a.effect())
}

// judge records a violation, unless it is "".
func (s *runner) judge(broken string) {
	if broken != "" {
		s.wrong.Add(1)
		s.Violate("soak on %s, seed %d, after %v, %s: %s", s.Backend.Name, s.Seed, time.Since(s.began).Round(time.Millisecond), s.underFault(), broken)
	}
}
