package stream

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/inject"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// endings are the ways in which a token ends.
var endings = []string{"Revoke", "RevokeUser", "RevokeClient", "a newer sign-in", "its expiry"}

const (
	byRevoke = iota
	byRevokeUser
	byRevokeClient
	bySignIn
	byExpiry
)

// A user signs in, opens streams, and ends the token again and again. No other user has
// the same client, whose ID is the user's name. So it is known at each moment whether
// the token is valid.
type user struct {
	*fleet
	*counts
	name string
	rng  *rand.Rand
}

// run acts until the context over ends. It returns the streams that are still open.
func (u *user) run(over, ctx context.Context) (open []*stream) {
	for over.Err() == nil {
		how := u.rng.IntN(len(endings))
		if how == byExpiry && u.rng.IntN(3) > 0 { // it takes two seconds
			how = byRevoke
		}
		issued, ok := u.signIn(ctx, how == byExpiry)
		if !ok {
			continue
		}
		u.Histories.Add(1)
		open = u.open(ctx, issued)
		if how == byExpiry {
			u.await(ctx, how, issued.Token.ExpiresAt, open)
			open = nil
			continue
		}
		inject.Wait(over, time.Duration(u.rng.Int64N(int64(300*time.Millisecond))))
		if over.Err() != nil {
			return open
		}
		// If one client disconnects, the others stay.
		if len(open) > 1 && u.rng.IntN(3) == 0 {
			open[0].mayEnd(time.Now())
			open[0].disconnect()
			open = open[1:]
		}
		for _, s := range open {
			s.mayEnd(time.Now())
		}
		for !u.end(ctx, how, issued) {
			if inject.Wait(ctx, 2*time.Millisecond); ctx.Err() != nil {
				return nil
			}
		}
		u.await(ctx, how, time.Now(), open)
		open = nil
	}
	return open
}

func (u *user) any() *replica { return u.replicas[u.rng.IntN(len(u.replicas))] }

// signIn issues a token. One that expires expires about two seconds later.
func (u *user) signIn(ctx context.Context, expires bool) (*tokenauth.IssuedToken, bool) {
	at := u.any().Service
	if expires {
		at = u.late
	}
	u.Operations.Add(1)
	issued, err := at.SignIn(ctx, tokenauth.Credentials{UserName: u.name, Password: tokenauth.NewSecret(u.name), ClientID: u.name})
	return &issued, err == nil
}

// open opens up to four streams with the token.
func (u *user) open(ctx context.Context, issued *tokenauth.IssuedToken) (streams []*stream) {
	for range 1 + u.rng.IntN(4) {
		r := u.any()
		inner, disconnect := context.WithCancel(ctx)
		request := httptest.NewRequest("GET", "/events", nil).WithContext(inner)
		request.Header.Set("Authorization", "Bearer "+issued.AccessToken.Reveal())
		u.Operations.Add(1)
		authorized, refusal := r.Authorizer(tokenauth.Requirement{Stream: true})(request)
		if refusal != nil {
			disconnect()
			if refusal.Status != http.StatusServiceUnavailable && time.Now().Before(issued.Token.ExpiresAt) {
				u.Violate("streams of seed %d on %s: a stream was refused with %v although its token is valid", u.Seed, u.Backend.Name, refusal.Err)
			}
			continue
		}
		s := &stream{user: u, at: r, context: authorized.Context(), disconnect: disconnect, ends: issued.Token.ExpiresAt, watched: make(chan struct{})}
		go s.watch()
		streams = append(streams, s)
	}
	return streams
}

// end ends the token, and reports whether that is certain.
func (u *user) end(ctx context.Context, how int, issued *tokenauth.IssuedToken) bool {
	u.Operations.Add(1)
	var err error
	switch auth := u.any(); how {
	case byRevoke:
		err = auth.Revoke(ctx, issued.AccessToken.Reveal())
	case byRevokeUser:
		err = auth.RevokeUser(ctx, u.name)
	case byRevokeClient:
		err = auth.RevokeClient(ctx, u.name)
	case bySignIn:
		_, err = auth.SignIn(ctx, tokenauth.Credentials{UserName: u.name, Password: tokenauth.NewSecret(u.name), ClientID: u.name})
	}
	return err == nil
}

// await waits until the streams of a token that ended have ended.
func (u *user) await(ctx context.Context, how int, ended time.Time, streams []*stream) {
	for _, s := range streams {
		bound, spread := s.at.bound, &u.kinds[how].bound
		switch {
		case how == byExpiry: // whatever happens to the feed and to look-ups
			bound = prompt + slack + u.Patience
		case !u.faulty && s.at.feed != nil:
			select {
			case <-s.watched:
			case <-time.After(time.Until(ended.Add(s.at.prompt))):
			}
			if s.at.feed.worked(ended) {
				bound = s.at.prompt
			} else if time.Since(ended) > s.at.prompt {
				u.slow.Add(1)
			}
		}
		if !u.faulty && s.at.feed != nil {
			spread = &u.kinds[how].prompt
		}
		if took, ok := s.endsBy(ctx, ended, endings[how], bound, tokenauth.ErrInvalidToken); ok {
			spread.Add(took)
		}
		s.disconnect()
	}
}

// A stream is an open stream at a replica.
type stream struct {
	user       *user
	at         *replica
	context    context.Context
	disconnect context.CancelFunc
	watched    chan struct{} // closed when the stream has ended

	mu      sync.Mutex
	ends    time.Time // when it may end
	stopped bool      // its replica may have stopped
	ended   time.Time
}

// mayEnd allows the stream to end from a time on.
func (s *stream) mayEnd(from time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = from
}

func (s *stream) replicaStops() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

// watch waits for the end of the stream, which must not come while the token is valid.
func (s *stream) watch() {
	defer close(s.watched)
	<-s.context.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = time.Now()
	if cause := context.Cause(s.context); !s.stopped && s.ended.Before(s.ends) && !errors.Is(cause, context.Canceled) {
		s.user.Violate("streams of seed %d on %s, generation %d: the stream of %q ended with %q although its token was valid",
			s.user.Seed, s.user.Backend.Name, s.user.n, s.user.name, cause)
	}
}

// endsBy waits until the stream has ended. It returns how long that took. The stream
// must end within the bound, and with the cause, unless that is nil.
func (s *stream) endsBy(ctx context.Context, since time.Time, by string, bound time.Duration, cause error) (took time.Duration, ok bool) {
	select {
	case <-s.watched:
	case <-time.After(time.Until(since.Add(bound))):
		select {
		case <-s.watched: // the machine was busy
		default:
			if ctx.Err() == nil {
				s.user.Violate("streams of seed %d on %s, generation %d: the stream of %q at a replica is still open %v after %s ended its token",
					s.user.Seed, s.user.Backend.Name, s.user.n, s.user.name, bound, by)
			}
			return 0, false
		}
	case <-ctx.Done():
		return 0, false
	}
	if got := context.Cause(s.context); cause != nil && !errors.Is(got, cause) && ctx.Err() == nil {
		s.user.Violate("streams of seed %d on %s, generation %d: the stream of %q ended with %q after %s", s.user.Seed, s.user.Backend.Name, s.user.n, s.user.name, got, by)
	}
	return max(0, s.ended.Sub(since)), true
}
