package tokenauth

import (
	"slices"
	"time"
)

// A held token is a good one as a guard holds it while the request lasts:
// straight from a storage, or as the cache keeps it. Both are shared with
// others, so hosts get copies.
type held interface {
	// digests returns the token's, and the one that it replaced.
	digests() (d, replaced *Digest)
	// expired reports whether the token is no longer good at the time, in Unix
	// seconds.
	expired(now int64) bool
	hasRole(anyOf []string) bool
	client() string
	// describe fills in whose it is.
	describe(e *Event)
	// copy returns a token that shares nothing that can be changed.
	copy() Token
}

// hold makes no interface of a nil pointer.
func hold(t *Token, err error) (held, error) {
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Token) digests() (d, replaced *Digest) { return &t.Digest, &t.Replaced }

func (t *Token) expired(now int64) bool { return now >= t.ExpiresAt.Unix() }

func (t *Token) client() string { return t.ClientID }

func (t *Token) hasRole(anyOf []string) bool { return t.Principal.HasRole(anyOf...) }

func (t *Token) copy() Token {
	c := *t
	c.Principal = t.Principal.Clone()
	return c
}

func (t *Token) describe(e *Event) { e.of(t) }

func newEntry(t *Token) *entry {
	return &entry{
		slot:     t.Slot,
		digest:   t.Digest,
		replaced: t.Replaced,
		issued:   t.IssuedAt.Unix(),
		expires:  t.ExpiresAt.Unix(),
		owner:    string(appendOwner(nil, t.ClientID, &t.Principal)),
	}
}

func (e *entry) digests() (d, replaced *Digest) { return &e.digest, &e.replaced }

func (e *entry) expired(now int64) bool { return now >= e.expires }

func (e *entry) client() string {
	d := decoder{rest: e.owner}
	return d.text()
}

func (e *entry) describe(to *Event) {
	d := decoder{rest: e.owner}
	to.ClientID, to.UserID, to.UserName, to.Digest = d.text(), d.text(), d.text(), e.digest
}

func (e *entry) hasRole(anyOf []string) bool {
	d := decoder{rest: e.owner}
	for range 4 { // client ID, user ID, user name, stamp
		d.text()
	}
	for range d.count() {
		if slices.Contains(anyOf, d.text()) {
			return true
		}
	}
	return false
}

func (e *entry) copy() Token {
	t := Token{
		Slot:      e.slot,
		Digest:    e.digest,
		Replaced:  e.replaced,
		IssuedAt:  time.Unix(e.issued, 0).UTC(),
		ExpiresAt: time.Unix(e.expires, 0).UTC(),
	}
	d := decoder{rest: e.owner}
	t.ClientID, t.Principal = d.owner()
	return t
}
