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
var endings = []string{"Revoke", "RevokeUser", "RevokeClient", "a newer sign-in", "its expiry", "Revoke of a refresh token", "the reuse of a refresh token"}

const (
	byRevoke = iota
	byRevokeUser
	byRevokeClient
	bySignIn
	byExpiry
	byRevokeRefresh // the first ending that needs refresh tokens
	byReuse
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
		among := byRevokeRefresh
		if u.refresh {
			among = len(endings)
		}
		how := u.rng.IntN(among)
		if (how == byExpiry || how == byReuse) && u.rng.IntN(3) > 0 { // it takes a second or two
			how = byRevoke
		}
		issued, ok := u.signIn(ctx, how == byExpiry)
		if !ok {
			continue
		}
		u.Histories.Add(1)
		open = u.open(ctx, issued)
		s := &signIn{current: issued}
		if u.refresh && (how == byReuse || u.rng.IntN(3) > 0) {
			if open, ok = u.refreshes(ctx, how, s, open); !ok {
				continue
			}
		}
		if how == byExpiry {
			u.await(ctx, how, s.current.Token.ExpiresAt, open)
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
		for !u.end(ctx, how, s) {
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

// A signIn is a sign-in with the pairs that its user got.
type signIn struct {
	current, used *tokenauth.IssuedToken // used is nil before the first refresh
	at            *tokenauth.Service     // where used was used
}

// refreshes refreshes the sign-in, and opens further streams. The streams that are open
// must stay open. It returns all, and false if the end of the sign-in is not certain.
func (u *user) refreshes(ctx context.Context, how int, s *signIn, open []*stream) (all []*stream, ok bool) {
	times := 1
	// A stream whose token was not checked yet recognizes only the latest refresh.
	if !u.faulty && how != byExpiry && u.rng.IntN(8) == 0 {
		times = 3
	}
	for i := range times {
		if i > 0 {
			inject.Wait(ctx, prompt)
		}
		inject.Wait(ctx, time.Duration(u.rng.Int64N(int64(100*time.Millisecond))))
		if s.at = u.any().Service; how == byExpiry {
			s.at = u.late
		}
		next, err := u.refreshOnce(ctx, s)
		if err != nil {
			for _, stream := range open {
				stream.mayEnd(time.Now())
				stream.disconnect()
			}
			return nil, false
		}
		s.used, s.current = s.current, next
		u.refreshed.Add(1)
		if how == byExpiry && !u.faulty { // if a look-up fails, they may end with the token that they know
			for _, stream := range open {
				stream.mayEnd(next.Token.ExpiresAt)
			}
		}
	}
	if u.rng.IntN(2) == 0 {
		open = append(open, u.open(ctx, s.current)...)
	}
	if how == byReuse {
		inject.Wait(ctx, grace+grace/10)
	}
	return open, ctx.Err() == nil
}

// refreshOnce refreshes, and tries again while look-ups fail.
func (u *user) refreshOnce(ctx context.Context, s *signIn) (*tokenauth.IssuedToken, error) {
	for try := 1; ; try++ {
		u.Operations.Add(1)
		next, err := s.at.Refresh(ctx, tokenauth.Credentials{RefreshToken: s.current.RefreshToken, ClientID: u.name})
		switch {
		case err == nil || ctx.Err() != nil:
			return &next, err
		case errors.Is(err, tokenauth.ErrInvalidToken):
			// After a try without an answer, the grace may be over on a busy machine.
			if expired := !time.Now().Before(s.current.Token.ExpiresAt); try == 1 && !expired {
				u.Violate("streams of seed %d on %s, generation %d: refreshing a valid sign-in of %q returned %v", u.Seed, u.Backend.Name, u.n, u.name, err)
			}
			return nil, err
		}
		inject.Wait(ctx, 2*time.Millisecond)
	}
}

// end ends the sign-in, and reports whether that is certain.
func (u *user) end(ctx context.Context, how int, s *signIn) bool {
	u.Operations.Add(1)
	var err error
	switch auth := u.any(); how {
	case byRevokeRefresh:
		pair := s.current
		if s.used != nil && u.rng.IntN(2) == 0 {
			pair = s.used
		}
		err = auth.Revoke(ctx, pair.RefreshToken.Reveal())
	case byReuse: // by the clock that knows when the token was used
		_, err = s.at.Refresh(ctx, tokenauth.Credentials{RefreshToken: s.used.RefreshToken, ClientID: u.name})
		if err == nil {
			u.Violate("streams of seed %d on %s, generation %d: a refresh token of %q was accepted after the grace", u.Seed, u.Backend.Name, u.n, u.name)
			return false
		}
		if errors.Is(err, tokenauth.ErrInvalidToken) {
			err = nil
		}
	case byRevoke:
		err = auth.Revoke(ctx, s.current.AccessToken.Reveal())
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
