// Package forgery is the trial "forgery". It validates great numbers of invalid
// tokens.
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
	// headersEvery is after how many tries one goes through the guard.
	headersEvery = 40
	// goodEvery is after how many tries a good token has to pass, so that a
	// service which refuses everything is found.
	goodEvery = 1000
	// renewEvery is after how many tries a user signs in again.
	renewEvery = 50_000
)

// Run tries what is no good token, in great numbers.
func Run(tb testing.TB, e *trial.Env) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // there is little but garbage
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

// A count is how often what was tried.
type count struct {
	mu                      sync.Mutex
	tries, accepted         []int64 // by forgery, then by disguise
	headers, goods, renewed int64
}

func newCount() *count {
	n := len(forgeries) + len(disguises)
	return &count{tries: make([]int64, n), accepted: make([]int64, n)}
}

func (c *count) add(o *count) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.tries {
		c.tries[i] += o.tries[i]
		c.accepted[i] += o.accepted[i]
	}
	c.headers, c.goods, c.renewed = c.headers+o.headers, c.goods+o.goods, c.renewed+o.renewed
}

func (c *count) section(took time.Duration) *report.Section {
	s := &report.Section{
		Title: "Forgeries",
		About: "What is no good token, against services without and with a cache, in memory: one try of five with a cache. A kind is what a good token was changed in, or what else was sent; a good token that is sent in a wrong way has to be refused, too.",
		Head:  []string{"kind", "tries", "accepted"},
	}
	var tries, accepted int64
	for i := range c.tries {
		if i < len(forgeries) {
			s.Row(forgeries[i].name, c.tries[i], c.accepted[i])
		} else {
			s.Row("good, sent with "+disguises[i-len(forgeries)].name, c.tries[i], c.accepted[i])
		}
		tries, accepted = tries+c.tries[i], accepted+c.accepted[i]
	}
	s.Note("%d tries, %d accepted, %.2f million tries a second. %d tries went through the guard. %d times in between a good token had to pass, and %d times a user signed in again.",
		tries, accepted, float64(tries)/took.Seconds()/1e6, c.headers, c.goods, c.renewed)
	return s
}

// A forger tries forgeries of the tokens of its own marks.
type forger struct {
	*trial.Env
	*count
	rng     *rand.Rand
	marks   []*mark
	draw    []int // forgeries, each as often as its share
	request *http.Request
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
			m.near = marks[(i+1)%a.users].body
		}
		f.marks = append(f.marks, marks...)
	}
	return f
}

// run tries until the env is over.
func (f *forger) run(ctx context.Context) {
	whole := context.WithoutCancel(ctx) // what is begun is not broken off
	for n := 1; !f.Over() && ctx.Err() == nil; n++ {
		for i := range goodEvery {
			m := f.marks[f.rng.IntN(len(f.marks))]
			switch {
			case i%headersEvery != 0:
				f.try(whole, m)
			case i%(2*headersEvery) == 0:
				f.tryHeader(m)
			default:
				f.tryDisguise(m)
			}
		}
		f.Env.Operations.Add(goodEvery)
		m := f.marks[f.rng.IntN(len(f.marks))]
		f.tryGood(whole, m)
		if n%(renewEvery/goodEvery) == 0 {
			if err := m.renew(whole); err != nil {
				f.Violate("forgery: %s cannot sign in again: %v", m.user, err)
			}
			f.renewed++
		}
	}
}

// try validates a forgery.
func (f *forger) try(ctx context.Context, m *mark) {
	kind := f.draw[f.rng.IntN(len(f.draw))]
	text := forgeries[kind].make(f.rng, m)
	if text == m.good {
		return
	}
	f.tries[kind]++
	_, err := m.Validator.Validate(ctx, text)
	if err != tokenauth.ErrInvalidToken {
		f.judge(kind, forgeries[kind].name, m, err)
	}
}

// judge looks at what was not refused in the usual way.
func (f *forger) judge(kind int, name string, m *mark, err error) {
	switch {
	case err == nil:
		if f.accepted[kind]++; f.accepted[kind] <= 3 {
			f.Violate("forgery: %s, with seed %d: %q passed, made of a token of %s", m.name, f.Seed, name, m.user)
		}
	case !errors.Is(err, tokenauth.ErrInvalidToken):
		f.Violate("forgery: %s: %q came to %v, made of a token of %s", m.name, name, err, m.user)
	}
}

// tryHeader sends a forgery to the guard.
func (f *forger) tryHeader(m *mark) {
	kind := f.draw[f.rng.IntN(len(f.draw))]
	text := forgeries[kind].make(f.rng, m)
	if strings.Trim(text, " ") == m.good { // spaces are the header's
		return
	}
	f.tries[kind]++
	f.headers++
	if r, refusal := f.send(m, []string{f.scheme() + text}, ""); refusal == nil {
		token, _ := tokenauth.FromContext(r.Context())
		f.judge(kind, forgeries[kind].name+", in a header, as "+token.Principal.UserID, m, nil)
	}
}

// tryDisguise sends a good token in a way that is not good.
func (f *forger) tryDisguise(m *mark) {
	i := f.rng.IntN(len(disguises))
	d, kind := disguises[i], len(forgeries)+i
	query := ""
	if d.query != nil {
		query = d.query(m.good)
	}
	f.tries[kind]++
	f.headers++
	if _, refusal := f.send(m, d.lines(m.good), query); refusal == nil {
		f.judge(kind, d.name, m, nil)
	}
}

// tryGood validates a good token, in both ways.
func (f *forger) tryGood(ctx context.Context, m *mark) {
	f.goods++
	if t, err := m.Validator.Validate(ctx, m.good); err != nil || t.Principal.UserID != m.user {
		f.Violate("forgery: %s: the good token of %s came to %q and %v", m.name, m.user, t.Principal.UserID, err)
	}
	r, refusal := f.send(m, []string{f.scheme() + m.good}, "")
	if refusal != nil {
		f.Violate("forgery: %s: the good token of %s came to %v at the guard", m.name, m.user, refusal)
		return
	}
	if t, _ := tokenauth.FromContext(r.Context()); t.Principal.UserID != m.user {
		f.Violate("forgery: %s: the good token of %s is %q's at the guard", m.name, m.user, t.Principal.UserID)
	}
}

// scheme is the scheme in a way that is all right, with spaces behind.
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
