// Package forgery has the trial "forgery". It validates millions of invalid tokens.
package forgery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const (
	// headersEvery is the number of tries after which one is sent in a request header.
	headersEvery = 40
	// validEvery is the number of tries after which a valid token must be accepted,
	// so that the trial finds a service that refuses everything.
	validEvery = 1000
	// renewEvery is the number of tries after which a user signs in again.
	renewEvery = 50_000
)

// Run validates forgeries until [trial.Env.Over].
func Run(tb testing.TB, e *trial.Env) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // nearly all memory is garbage
	arenas, stop := openArenas(tb, e)
	defer stop()
	total := newCount()
	began := time.Now()
	var workers sync.WaitGroup
	for n := range runtime.GOMAXPROCS(0) {
		f := newForger(tb, e, arenas, n)
		workers.Go(func() {
			f.run(tb.Context())
			total.add(f.count)
		})
	}
	workers.Wait()
	e.Report.Add(total.section(time.Since(began)))
}

// A count counts the tries.
type count struct {
	mu                       sync.Mutex
	tries, accepted          []int64 // by forgery, followed by the disguises and the refreshForgeries
	headers, valids, renewed int64
}

func newCount() *count {
	n := len(forgeries) + len(disguises) + len(refreshForgeries)
	return &count{tries: make([]int64, n), accepted: make([]int64, n)}
}

func (c *count) add(o *count) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.tries {
		c.tries[i] += o.tries[i]
		c.accepted[i] += o.accepted[i]
	}
	c.headers, c.valids, c.renewed = c.headers+o.headers, c.valids+o.valids, c.renewed+o.renewed
}

func (c *count) section(took time.Duration) *report.Section {
	s := &report.Section{
		Title: "Forgeries",
		About: "Invalid tokens are validated by services without and with a cache, in memory. One try of five goes to the service with a cache. The kind says how a valid token was changed, or what was sent instead. A valid token that is sent in an invalid way must be refused, too. Invalid refresh tokens are refreshed with or revoked: none may be accepted, and none may end a sign-in.",
		Head:  []string{"kind", "tries", "accepted"},
	}
	var tries, accepted int64
	for i := range c.tries {
		name := ""
		switch behind := i - len(forgeries); {
		case behind < 0:
			name = forgeries[i].name
		case behind < len(disguises):
			name = "valid, sent with " + disguises[behind].name
		default:
			name = "refresh token, " + refreshForgeries[behind-len(disguises)].name
		}
		s.Row(name, c.tries[i], c.accepted[i])
		tries, accepted = tries+c.tries[i], accepted+c.accepted[i]
	}
	s.Note("%d tries, %d accepted, %.2f million tries a second. %d tries were requests with a header. In between, a valid token had to be accepted %d times, and a user signed in again or refreshed %d times.",
		tries, accepted, float64(tries)/took.Seconds()/1e6, c.headers, c.valids, c.renewed)
	return s
}

// A forger tries forgeries of the tokens of its own marks.
type forger struct {
	*trial.Env
	*count
	rng     *rand.Rand
	marks   []*mark
	draw    []int // indexes of forgeries, each as often as its share
	request *http.Request

	drawRefresh []int // indexes of refreshForgeries, in the same way
}

func newForger(tb testing.TB, e *trial.Env, arenas []*arena, n int) *forger {
	f := &forger{
		Env: e, count: newCount(), rng: rand.New(rand.NewPCG(e.Seed, 2<<32+uint64(n))),
		request: &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}, Header: make(http.Header)},
	}
	f.request = f.request.WithContext(context.WithoutCancel(tb.Context()))
	for i, kind := range forgeries {
		for range kind.share {
			f.draw = append(f.draw, i)
		}
	}
	for i, kind := range refreshForgeries {
		for range kind.share {
			f.drawRefresh = append(f.drawRefresh, i)
		}
	}
	for _, a := range arenas {
		var marks []*mark
		for i := range a.users {
			m, err := a.newMark(tb.Context(), fmt.Sprintf("user %d of forger %d", i, n))
			if err != nil {
				tb.Fatal(err)
			}
			marks = append(marks, m)
		}
		for i, m := range marks {
			m.near, m.nearRefresh = marks[(i+1)%a.users].body, marks[(i+1)%a.users].refresh
		}
		f.marks = append(f.marks, marks...)
	}
	return f
}

// run tries forgeries until [trial.Env.Over].
func (f *forger) run(ctx context.Context) {
	whole := context.WithoutCancel(ctx) // does not interrupt a call in progress
	for n := 1; !f.Over() && ctx.Err() == nil; n++ {
		for i := range validEvery {
			m := f.marks[f.rng.IntN(len(f.marks))]
			switch {
			case i%refreshEvery == 1:
				f.tryRefresh(whole, m)
			case i%headersEvery != 0:
				f.try(whole, m)
			case i%(2*headersEvery) == 0:
				f.tryHeader(m)
			default:
				f.tryDisguise(m)
			}
		}
		f.Env.Operations.Add(validEvery)
		m := f.marks[f.rng.IntN(len(f.marks))]
		f.tryValid(whole, m)
		if n%(renewEvery/validEvery) == 0 {
			if err := m.renew(whole); err != nil {
				f.Violate("forgery: %s cannot sign in again: %v", m.user, err)
			}
			f.renewed++
		}
		if n%10 == 0 {
			if err := m.refreshPair(whole); err != nil {
				f.Violate("forgery: %s: %s cannot refresh: %v", m.name, m.user, err)
			}
			f.renewed++
		}
	}
}

// try validates a forgery, which must return [tokenauth.ErrInvalidToken].
func (f *forger) try(ctx context.Context, m *mark) {
	kind := f.draw[f.rng.IntN(len(f.draw))]
	text := forgeries[kind].make(f.rng, m)
	if text == m.valid {
		return
	}
	f.tries[kind]++
	_, err := m.Validator.Validate(ctx, text)
	if err != tokenauth.ErrInvalidToken {
		f.judge(kind, forgeries[kind].name, m, err)
	}
}

// judge records a violation if a forgery was accepted, or refused with an error that
// is not [tokenauth.ErrInvalidToken].
func (f *forger) judge(kind int, name string, m *mark, err error) {
	switch {
	case err == nil:
		if f.accepted[kind]++; f.accepted[kind] <= 3 {
			f.Violate("forgery: %s, with seed %d: a token of kind %q was accepted, made from a token of %s", m.name, f.Seed, name, m.user)
		}
	case !errors.Is(err, tokenauth.ErrInvalidToken):
		f.Violate("forgery: %s: a token of kind %q returned the error %v, made from a token of %s", m.name, name, err, m.user)
	}
}

// tryHeader sends a forgery in the Authorization header.
func (f *forger) tryHeader(m *mark) {
	kind := f.draw[f.rng.IntN(len(f.draw))]
	text := forgeries[kind].make(f.rng, m)
	if strings.Trim(text, " ") == m.valid { // spaces around the token are allowed
		return
	}
	f.tries[kind]++
	f.headers++
	if r, refusal := f.send(m, []string{f.scheme() + text}, ""); refusal == nil {
		token, _ := tokenauth.FromContext(r.Context())
		f.judge(kind, forgeries[kind].name+", in a header, as "+token.Principal.UserID, m, nil)
	}
}

// tryDisguise sends a valid token in an invalid way.
func (f *forger) tryDisguise(m *mark) {
	i := f.rng.IntN(len(disguises))
	d, kind := disguises[i], len(forgeries)+i
	query := ""
	if d.query != nil {
		query = d.query(m.valid)
	}
	f.tries[kind]++
	f.headers++
	if _, refusal := f.send(m, d.lines(m.valid), query); refusal == nil {
		f.judge(kind, d.name, m, nil)
	}
}

// tryValid validates a valid token, directly and in a header.
func (f *forger) tryValid(ctx context.Context, m *mark) {
	f.valids++
	if t, err := m.Validator.Validate(ctx, m.valid); err != nil || t.Principal.UserID != m.user {
		f.Violate("forgery: %s: the valid token of %s returned the user %q and the error %v", m.name, m.user, t.Principal.UserID, err)
	}
	r, refusal := f.send(m, []string{f.scheme() + m.valid}, "")
	if refusal != nil {
		f.Violate("forgery: %s: the valid token of %s in a header was refused: %v", m.name, m.user, refusal)
		return
	}
	if t, _ := tokenauth.FromContext(r.Context()); t.Principal.UserID != m.user {
		f.Violate("forgery: %s: the valid token of %s in a header returned the user %q", m.name, m.user, t.Principal.UserID)
	}
}

// scheme returns a valid spelling of the scheme, with spaces after it.
func (f *forger) scheme() string {
	return [...]string{"Bearer ", "bearer ", "BEARER ", "bEaReR ", "Bearer  ", "Bearer      "}[f.rng.IntN(6)]
}

func (f *forger) send(m *mark, lines []string, query string) (*http.Request, *tokenauth.ErrorResponse) {
	f.request.Header["Authorization"] = lines
	if f.request.URL.RawQuery = query; lines == nil {
		delete(f.request.Header, "Authorization")
	}
	return m.authorize(f.request)
}
