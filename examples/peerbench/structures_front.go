package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A validator is a [tokenauth.Service] or a front.
type validator interface {
	Validate(ctx context.Context, accessToken string) (tokenauth.Token, error)
}

// A front validates tokens in the same way as a [tokenauth.Service] with a cache,
// but uses the embedded structure as its cache.
type front struct {
	structure
	store tokenauth.Storage
	loads atomic.Uint64
}

// A record is a cached token. Like this project's cache, it packs the user into one
// string, so that only the structures differ.
type record struct {
	digest          tokenauth.Digest
	issued, expires int64
	owner           string // user ID, user name, stamp and roles
}

const separator = "\x00"

// Validate does the same work as [tokenauth.Service.Validate].
func (f *front) Validate(ctx context.Context, accessToken string) (tokenauth.Token, error) {
	slot, digest, ok := parse("tat_", accessToken)
	if !ok {
		return tokenauth.Token{}, tokenauth.ErrInvalidToken
	}
	r := f.get(slot)
	if r == nil {
		f.loads.Add(1)
		t, err := f.store.Find(ctx, slot)
		if err != nil {
			return tokenauth.Token{}, err
		}
		r = newRecord(&t)
		f.put(slot, r)
	}
	if _, one := f.structure.(*onlyOne); !one && subtle.ConstantTimeCompare(r.digest[:], digest[:]) != 1 {
		return tokenauth.Token{}, tokenauth.ErrInvalidToken
	}
	if time.Now().Unix() >= r.expires {
		return tokenauth.Token{}, tokenauth.ErrExpiredToken
	}
	return r.token(slot), nil
}

func newRecord(t *tokenauth.Token) *record {
	p := &t.Principal
	return &record{
		digest:  t.Digest,
		issued:  t.IssuedAt.Unix(),
		expires: t.ExpiresAt.Unix(),
		owner:   strings.Join(append([]string{p.UserID, p.UserName, p.Stamp}, p.Roles...), separator),
	}
}

func (r *record) token(slot tokenauth.Slot) tokenauth.Token {
	t := tokenauth.Token{
		Slot:      slot,
		Digest:    r.digest,
		IssuedAt:  time.Unix(r.issued, 0).UTC(),
		ExpiresAt: time.Unix(r.expires, 0).UTC(),
	}
	rest, more := r.owner, false
	t.Principal.UserID, rest, _ = strings.Cut(rest, separator)
	t.Principal.UserName, rest, _ = strings.Cut(rest, separator)
	t.Principal.Stamp, rest, more = strings.Cut(rest, separator)
	for role := ""; more; {
		role, rest, more = strings.Cut(rest, separator)
		t.Principal.Roles = append(t.Principal.Roles, role)
	}
	return t
}

// parse parses an access token of this project: a prefix, then version, slot,
// secret and checksum in base64url. It returns the slot and the digest.
func parse(prefix, accessToken string) (s tokenauth.Slot, d tokenauth.Digest, ok bool) {
	const size, checksumAt = 69, 65
	if len(accessToken) != len(prefix)+size/3*4 || accessToken[:len(prefix)] != prefix {
		return s, d, false
	}
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	text := b.text[:copy(b.text[:], accessToken)]
	n, err := base64.RawURLEncoding.Decode(b.body[:], text[len(prefix):])
	if err != nil || n != size || b.body[0] != 1 {
		return s, d, false
	}
	sum := crc32.Update(crc32.ChecksumIEEE(text[:len(prefix)]), crc32.IEEETable, b.body[:checksumAt])
	if binary.BigEndian.Uint32(b.body[checksumAt:]) != sum {
		return s, d, false
	}
	copy(s.User[:], b.body[1:])
	copy(s.Client[:], b.body[17:])
	return s, sha256.Sum256(text), true
}

type buffer struct {
	text [128]byte
	body [69]byte
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}
