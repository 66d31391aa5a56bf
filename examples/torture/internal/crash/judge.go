package crash

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// judge compares the stored rows and the accepted tokens after a crash with the
// answers that the user got. It decides whether the write in doubt was done. A slot
// without a row is not in rows.
//
// A client that got no answer to a refresh then repeats it.
func (u *user) judge(rows map[tokenauth.Slot]tokenauth.Token, refresh func(client, refreshToken string) (int, pair), validate func(text string) (status int)) {
	d := u.doubt
	var kept, ended int // number of tokens that the write in doubt may have ended
	for _, p := range u.places {
		before := p.held
		u.settle(p, rows)
		if before != nil && u.mayEnd(p) && (d.kind != op.Revoke || d.token == before) {
			if p.held == before {
				kept++
			} else {
				ended++
			}
		}
		if d != nil && d.kind == op.Refresh && d.place == p && p.held != nil {
			u.repeat(p, refresh)
		}
		u.try(p, validate)
	}
	switch {
	case d == nil:
	case d.kind == op.SignIn:
		u.counts.settle(d.kind, d.place.held != nil && d.place.held.mark == d.mark)
	case kept > 0 && ended > 0:
		u.violate("half of the revocation of the user was done")
	case kept+ended > 0: // else there was no token to end
		u.counts.settle(d.kind, ended > 0)
	}
	u.doubt = nil
}

func (c *counts) settle(k op.Kind, done bool) {
	if done {
		c.done[k].Add(1)
	} else {
		c.undone[k].Add(1)
	}
}

// settle finds out what the slot of a place holds. It must be what it held before
// the crash, or the result of the write in doubt.
func (u *user) settle(p *place, rows map[tokenauth.Slot]tokenauth.Token) {
	row, filled := rows[p.slot]
	if !filled {
		switch {
		case p.held == nil:
		case u.mayEnd(p) && (u.doubt.kind == op.RevokeUser || u.doubt.token == p.held):
			p.end()
		default:
			u.violate("%s is empty but held the token of %q; interrupted write: %v", p.client, p.held.mark, u.doubt)
			p.end()
		}
		return
	}
	stored := &issued{mark: row.Principal.Stamp, digest: row.Digest, replaced: row.Replaced}
	if want := markedPrincipal(u.name, stored.mark); row.ClientID != p.client || !equalPrincipals(row.Principal, want) || !row.ExpiresAt.Equal(row.IssuedAt.Truncate(time.Second).Add(lifetime)) {
		u.violate("the row at %s is torn: it has the principal %+v and the client %q", p.client, row.Principal, row.ClientID)
	}
	var displaced tokenauth.Digest
	if p.held != nil {
		displaced = p.held.digest
	}
	switch {
	case p.held != nil && stored.digest == p.held.digest:
		if stored.mark != p.held.mark {
			u.violate("the row at %s is torn: it has the digest of %q and the principal of %q", p.client, p.held.mark, stored.mark)
		} else if stored.replaced != p.held.replaced {
			u.violate("the row at %s has %q replacing the digest %v, but it replaced %v", p.client, p.held.mark, stored.replaced, p.held.replaced)
		}
		return
	case u.doubt != nil && (u.doubt.kind == op.SignIn || u.doubt.kind == op.Refresh) && u.doubt.place == p && stored.mark == u.doubt.mark && !p.issued(stored.digest):
		if stored.replaced != displaced {
			u.violate("the row at %s has %q replacing the digest %v, but it replaced %v", p.client, stored.mark, stored.replaced, displaced)
		}
	default:
		u.violate("%s holds a token that it must not: %q, digest %v (issued before: %v); interrupted write: %v", p.client, stored.mark, stored.digest, p.issued(stored.digest), u.doubt)
	}
	p.end()
	p.held = stored
}

// repeat repeats the refresh in doubt. It must succeed, and return the pair that is
// stored if the refresh was done. A further repetition must return the same pair.
func (u *user) repeat(p *place, refresh func(client, refreshToken string) (int, pair)) {
	d := u.doubt
	done := p.held != d.used
	if time.Since(d.began) > grace-repeating {
		return // on a busy machine the grace may be over
	}
	status, first := refresh(p.client, d.used.refresh)
	if status != http.StatusOK {
		u.violate("a refresh at %s that got no answer (done: %v) is answered %d when it is repeated", p.client, done, status)
		return
	}
	if done {
		u.counts.repeated.Add(1)
		if digest := tokenauth.Digest(sha256.Sum256([]byte(first.access))); digest != p.held.digest {
			u.violate("a refresh at %s that got no answer returns another pair than the stored one when it is repeated", p.client)
		}
		p.held.text, p.held.refresh = first.access, first.refresh
	} else {
		p.hold(first, p.held.mark)
	}
	status, second := refresh(p.client, d.used.refresh)
	if time.Since(d.began) <= grace && (status != http.StatusOK || second != first) {
		u.violate("a refresh at %s that is repeated a second time is answered %d, or returns another pair", p.client, status)
	}
}

// repeating is how long before the end of the grace no repetition begins.
const repeating = 10 * time.Second

// lifetime is the default of [tokenauth.Options.Lifetime].
const lifetime = 14 * 24 * 60 * 60 * 1e9

// issued reports whether a token with the digest was issued earlier and has ended.
func (p *place) issued(d tokenauth.Digest) bool {
	return slices.ContainsFunc(p.ended, func(t *issued) bool { return t.digest == d })
}

func equalPrincipals(a, b tokenauth.Principal) bool {
	return a.UserID == b.UserID && a.UserName == b.UserName && a.Stamp == b.Stamp && slices.Equal(a.Roles, b.Roles) &&
		len(a.Attributes) == 1 && a.Attributes["mark"] == b.Attributes["mark"]
}

// try validates all tokens that were ever issued for the slot.
func (u *user) try(p *place, validate func(text string) (status int)) {
	valid := 0
	for _, t := range append(slices.Clone(p.ended), p.held) {
		if t == nil || t.text == "" {
			continue
		}
		want := http.StatusUnauthorized
		if t == p.held {
			want = http.StatusOK
		}
		u.counts.tried.Add(1)
		status := validate(t.text)
		if status != want {
			u.violate("the token of %q at %s is answered %d, not %d; interrupted write: %v", t.mark, p.client, status, want, u.doubt)
		}
		if status == http.StatusOK {
			valid++
		}
	}
	if valid > 1 {
		u.violate("%d tokens are valid at %s", valid, p.client)
	}
}
