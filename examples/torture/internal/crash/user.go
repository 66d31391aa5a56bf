package crash

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A user has a token at each client and sends one request after the other. So at most
// one of its writes is in doubt after a crash.
type user struct {
	name   string
	places []*place // one for each client
	doubt  *doubt   // the write whose answer was lost; nil for none
	marks  int      // number of sign-ins
	rng    *rand.Rand
	counts *counts
	broken []string // violations since the last crash
	// refreshes is whether the user refreshes, too.
	refreshes bool
}

// A place is a slot as the user knows it from the answers.
type place struct {
	client string
	slot   tokenauth.Slot
	held   *issued // the token that must be valid; nil for none
	ended  []*issued
}

// An issued is a pair that was issued. It has no texts if it was stored but the answer
// was lost. The mark is that of its sign-in.
type issued struct {
	text, refresh, mark string
	digest, replaced    tokenauth.Digest
}

// A doubt is a write whose answer was lost. The write must be done or not done,
// never half done.
type doubt struct {
	kind  op.Kind
	place *place  // nil for all places of the user
	token *issued // the token to revoke
	mark  string  // the mark of the sign-in
	used  *issued // the pair to refresh
	began time.Time
}

func (d *doubt) String() string {
	switch {
	case d == nil:
		return "nothing"
	case d.place == nil:
		return d.kind.String()
	}
	return fmt.Sprintf("%v at %s", d.kind, d.place.client)
}

// counts counts the requests of all users of a target.
type counts struct {
	requests, cut, tried, rows atomic.Int64
	repeated                   atomic.Int64                 // refreshes in doubt that were done and then repeated
	done, undone               [op.Refresh + 1]atomic.Int64 // writes in doubt, by the result
}

func newUser(name string, seed uint64, counts *counts) *user {
	u := &user{name: name, rng: rand.New(rand.NewPCG(seed, 3)), counts: counts}
	for i := range 2 {
		u.places = append(u.places, &place{client: host.Client(i), slot: tokenauth.SlotOf(name, host.Client(i))})
	}
	return u
}

// use sends requests until stop is set. After a write in doubt it only validates
// tokens that the write cannot have ended.
func (u *user) use(s *service, stop *atomic.Bool) {
	for !stop.Load() {
		switch {
		case u.doubt == nil:
			u.act(s)
		default:
			u.look(s)
			time.Sleep(time.Millisecond)
		}
	}
}

// act sends a random request.
func (u *user) act(s *service) {
	p := u.places[u.rng.IntN(len(u.places))]
	switch n := u.rng.IntN(100); {
	case n < 20 && u.refreshes && p.held != nil && p.held.refresh != "":
		u.refresh(s, p)
	case n < 40 || p.held == nil && n < 80:
		u.signIn(s, p)
	case n < 80:
		u.look(s)
	case n < 94:
		u.revoke(s, p)
	default:
		u.revokeUser(s)
	}
}

func (u *user) signIn(s *service, p *place) {
	u.marks++
	mark := fmt.Sprint("mark ", u.marks)
	status, pair := s.signIn(u.name, p.client, "", mark)
	if !u.inDoubt(status, &doubt{kind: op.SignIn, place: p, mark: mark}) {
		p.hold(pair, mark)
	}
}

// refresh replaces the pair of a place.
func (u *user) refresh(s *service, p *place) {
	d := &doubt{kind: op.Refresh, place: p, mark: p.held.mark, used: p.held, began: time.Now()}
	status, pair := s.refresh(p.client, p.held.refresh, u.rng.IntN(2) == 0)
	if !u.inDoubt(status, d) {
		p.hold(pair, p.held.mark)
	}
}

// hold notes that a pair replaced the current one.
func (p *place) hold(pair pair, mark string) {
	t := &issued{text: pair.access, refresh: pair.refresh, mark: mark, digest: sha256.Sum256([]byte(pair.access))}
	if p.held != nil {
		t.replaced = p.held.digest
	}
	p.end()
	p.held = t
}

// revoke revokes the current token of a place or, sometimes, an old one. Revoking an
// old token must end no other.
func (u *user) revoke(s *service, p *place) {
	t := p.held
	if n := len(p.ended); n > 0 && (t == nil || u.rng.IntN(4) == 0) {
		t = p.ended[u.rng.IntN(n)]
	}
	if t == nil || t.text == "" {
		return
	}
	text := t.text
	if t == p.held && u.refreshes && u.rng.IntN(2) == 0 {
		text = cmp.Or(t.refresh, text) // which ends the pair as well
	}
	if u.inDoubt(s.revoke(p.client, text), &doubt{kind: op.Revoke, place: p, token: t}) {
		return
	}
	if t == p.held {
		p.end()
	}
}

func (u *user) revokeUser(s *service) {
	if u.inDoubt(s.revokeUser(u.name), &doubt{kind: op.RevokeUser}) {
		return
	}
	for _, p := range u.places {
		p.end()
	}
}

// end notes that the current token has ended.
func (p *place) end() {
	if p.held != nil {
		p.ended = append(p.ended, p.held)
	}
	p.held = nil
}

// inDoubt counts a write, and reports whether it is in doubt.
func (u *user) inDoubt(status int, d *doubt) bool {
	u.counts.requests.Add(1)
	switch {
	case doubtful(status):
		u.counts.cut.Add(1)
		u.doubt = d
		return true
	case status != http.StatusOK:
		u.violate("%v is answered %d", d, status)
	}
	return false
}

// look validates one of the tokens, unless the write in doubt may have ended it.
func (u *user) look(s *service) {
	p := u.places[u.rng.IntN(len(u.places))]
	t, want := p.held, http.StatusOK
	if n := len(p.ended); n > 0 && (t == nil || u.rng.IntN(3) == 0) {
		t, want = p.ended[u.rng.IntN(n)], http.StatusUnauthorized
	}
	if t == nil || t.text == "" || t == p.held && u.mayEnd(p) {
		return
	}
	u.counts.requests.Add(1)
	status := s.validate(u.name, t.text)
	if doubtful(status) {
		u.counts.cut.Add(1)
		return
	}
	if status != want {
		u.violate("the token of %q at %s is answered %d, not %d; interrupted write: %v", t.mark, p.client, status, want, u.doubt)
	}
}

// mayEnd reports whether the write in doubt may have ended the token of a place.
func (u *user) mayEnd(p *place) bool {
	return u.doubt != nil && (u.doubt.place == nil || u.doubt.place == p)
}

// violate records a violation. It keeps only the first five of each crash, because
// one bug causes many.
func (u *user) violate(format string, args ...any) {
	if len(u.broken) >= 5 {
		return
	}
	u.broken = append(u.broken, fmt.Sprintf("%s: "+format, append([]any{u.name}, args...)...))
}
