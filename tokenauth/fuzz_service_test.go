package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// A directory is an Authenticator whose users can change. Each has the password
// "right".
type directory map[string]*struct {
	disabled bool
	role     string
	version  int
}

func (d directory) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	u := d[c.UserName]
	if u == nil || u.disabled || c.Password.Reveal() != "right" {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return tokenauth.Principal{UserID: c.UserName, UserName: c.UserName, Roles: []string{u.role}, Stamp: fmt.Sprint(u.version)}, nil
}

func (d directory) Recheck(_ context.Context, p tokenauth.Principal) error {
	if u := d[p.UserID]; u == nil || u.disabled || fmt.Sprint(u.version) != p.Stamp {
		return tokenauth.ErrRejected
	}
	return nil
}

// A model is the simplest implementation of the service, to compare with.
type model struct {
	clock  tokenauthtest.Clock
	slots  map[string]*slotModel // by user and client
	issued []issuedToken
}

type slotModel struct{ current, replaced int } // numbers of tokens; -1 for none

type issuedToken struct {
	accessToken, user, slot, role string
	expires                       time.Time
	purged                        bool
}

func (m *model) slot(name string) *slotModel {
	if m.slots[name] == nil {
		m.slots[name] = &slotModel{-1, -1}
	}
	return m.slots[name]
}

// says returns the result that the model expects of validating a token.
func (m *model) says(i int) string {
	t := m.issued[i]
	switch s := m.slot(t.slot); {
	case s.current == i && m.clock.Now().Before(t.expires):
		return "valid"
	case s.current == i:
		return "invalid expired"
	case s.replaced == i:
		return "invalid replaced"
	}
	return "invalid"
}

func (m *model) empty(which func(issuedToken) bool) {
	for _, s := range m.slots {
		if s.current >= 0 && which(m.issued[s.current]) {
			*s = slotModel{-1, -1}
		}
	}
}

func (m *model) purge() {
	expired := func(t issuedToken) bool { return t.expires.Before(m.clock.Now().Add(-24 * time.Hour)) }
	for _, s := range m.slots {
		if s.current >= 0 && expired(m.issued[s.current]) {
			m.issued[s.current].purged = true
		}
	}
	m.empty(expired)
}

// allows reports whether got is an allowed result of validating a token. A
// cache may still report a token as expired that was purged from the storage.
func (m *model) allows(i int, got string) bool {
	return got == m.says(i) || m.issued[i].purged && got == "invalid expired"
}

// A purgeCounter counts its purges, so that the test can wait for the one at
// the start of Run.
type purgeCounter struct {
	memory.Store
	times atomic.Int64
}

func (p *purgeCounter) Purge(ctx context.Context, before time.Time) (int64, error) {
	defer p.times.Add(1)
	return p.Store.Purge(ctx, before)
}

// FuzzService runs a sequence of sign-ins, validations, revocations, changes of
// users and of the time. It compares two Services over one storage with the
// model, one without a cache and one with.
func FuzzService(f *testing.F) {
	f.Add([]byte(" \xee\xee\xee\xee\xee\xee\xee\xee\xee\xee\xeeA\xff")) // cached, expired and purged
	f.Add([]byte{0, 0, 0, 16, 0, 1, 32, 1, 2, 48, 0, 0, 1})
	f.Add([]byte{0, 0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 64, 80, 96, 112, 128, 144, 160})
	f.Fuzz(func(t *testing.T, program []byte) {
		users := []string{"alice", "bob", "carol"}
		m := &model{slots: make(map[string]*slotModel)}
		m.clock.Advance(time.Date(2026, 3, 29, 1, 59, 59, 0, time.UTC).Sub(m.clock.Now()))
		d := make(directory)
		for _, u := range users {
			d[u] = &struct {
				disabled bool
				role     string
				version  int
			}{role: "Reader"}
		}
		o := tokenauth.Options{Now: m.clock.Now, Lifetime: time.Hour, Throttle: tokenauth.ThrottleOptions{InsecureOff: true}}
		store := new(purgeCounter)
		strict := newService(t, store, d, &o)
		o.Cache = &tokenauth.CacheOptions{MaxEntries: 2, Lease: time.Minute}
		cached := newService(t, store, d, &o)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { cached.Run(ctx) })
		defer func() { cancel(); running.Wait() }()
		for !cached.CacheStats().FeedAlive || store.times.Load() == 0 {
			runtime.Gosched()
		}

		for step, b := range program[:min(len(program), 200)] {
			auth := []*tokenauth.Service{strict, cached}[b&1]
			user := users[int(b>>1&7)%len(users)]
			client := []string{"", "web"}[b>>3&1]
			some := -1
			if len(m.issued) > 0 {
				some = int(b) % len(m.issued)
			}
			switch op := b >> 4; {
			case op < 4:
				password := []string{"right", "right", "right", "wrong"}[op]
				grant, err := auth.SignIn(ctx, tokenauth.Credentials{UserName: user, Password: tokenauth.NewSecret(password), ClientID: client})
				if want := password == "right" && !d[user].disabled; (err == nil) != want || err != nil && !errors.Is(err, tokenauth.ErrRejected) {
					t.Fatalf("step %d: sign-in of %s with %q: %v", step, user, password, err)
				}
				if err == nil {
					name := user + "/" + client
					s := m.slot(name)
					s.current, s.replaced = len(m.issued), s.current
					m.issued = append(m.issued, issuedToken{grant.AccessToken.Reveal(), user, name, d[user].role, m.clock.Now().Add(time.Hour), false})
				}
			case op < 10 && some >= 0:
				token, err := auth.Validate(ctx, m.issued[some].accessToken)
				if got := reason(err); !m.allows(some, got) {
					t.Fatalf("step %d: token %d is %q, want %q", step, some, got, m.says(some))
				}
				if err == nil && (token.Principal.UserID != m.issued[some].user || !token.Principal.HasRole(m.issued[some].role)) {
					t.Fatalf("step %d: token %d has the principal %+v, want %+v", step, some, token.Principal, m.issued[some])
				}
			case op == 10 && some >= 0:
				if err := auth.Revoke(ctx, m.issued[some].accessToken); err != nil {
					t.Fatal(err)
				}
				if s := m.slot(m.issued[some].slot); s.current == some {
					*s = slotModel{-1, -1}
				}
			case op == 11, op == 12, op == 13: // the host changes the user, then revokes the tokens
				switch d[user].version++; op {
				case 11:
					d[user].disabled = !d[user].disabled
				case 12:
					d[user].role = "Auditor"
				}
				if err := auth.RevokeUser(ctx, user); err != nil {
					t.Fatal(err)
				}
				m.empty(func(t issuedToken) bool { return t.user == user })
			case op == 14:
				m.clock.Advance(time.Duration(b&15) * 10 * time.Minute)
			case op == 15:
				if _, err := auth.Purge(ctx); err != nil {
					t.Fatal(err)
				}
				m.purge()
			}
		}
		// Finally validate each token that was issued, with both Services.
		for i, token := range m.issued {
			for _, auth := range []*tokenauth.Service{strict, cached, cached} {
				if _, err := auth.Validate(ctx, token.accessToken); !m.allows(i, reason(err)) {
					t.Fatalf("at the end token %d is %q, want %q", i, reason(err), m.says(i))
				}
			}
		}
	})
}
