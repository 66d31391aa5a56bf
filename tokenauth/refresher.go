package tokenauth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/netip"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/internal/rotation"
	"github.com/bearerkit/bearerkit/tokenauth/internal/source"
)

// A presentedRefresh is a refresh token that a client sent.
type presentedRefresh struct {
	accesstoken.Refresh
	text           string
	digest, family Digest
	slot           Slot
}

// A refresher has what only refreshing needs.
type refresher struct {
	options *RefreshOptions
	storage Refresher
	lookups *lookups
	log     *securityLog
	now     func() time.Time
	key     []byte
	process [4]byte

	accessPrefix string
}

func newRefresher(r Refresher, o *Options, timeout *deadline.Timeout, log *securityLog) *refresher {
	f := &refresher{
		options:      o.Refresh,
		storage:      r,
		lookups:      newRefreshLookups(r, timeout, log),
		log:          log,
		now:          o.Now,
		key:          []byte(o.Refresh.Key.Reveal()),
		accessPrefix: o.Prefix,
	}
	rand.Read(f.process[:]) // never returns an error
	return f
}

// familyDomain is part of the stored format, so it must never change.
const familyDomain = "tokenauth/v1/family\x00"

func familyDigest(family []byte) Digest {
	return sha256.Sum256(append([]byte(familyDomain), family...))
}

// parse reports whether the string has the form of a refresh token. The refresher may be nil.
func (f *refresher) parse(text string) (p presentedRefresh, ok bool) {
	if f == nil {
		return p, false
	}
	if p.Refresh, p.digest, ok = accesstoken.ParseRefresh(f.options.Prefix, text); !ok {
		return p, false
	}
	p.text, p.slot, p.family = text, slotFrom(p.Slot), familyDigest(p.Family[:])
	return p, true
}

func (f *refresher) reader(now time.Time) rotation.Reader {
	return rotation.Reader{Now: now, Grace: f.options.Grace, Process: f.process}
}

// source returns a keyed hash of the network of a client's address. Without the key, all
// networks could be tried.
func (f *refresher) source(addr netip.Addr) (hash [8]byte) {
	network, _ := source.Networks(addr)
	mac := hmac.New(sha256.New, f.key)
	mac.Write([]byte("tokenauth/v1/source\x00" + network.String()))
	copy(hash[:], mac.Sum(nil))
	return hash
}

// begin gives a new token a refresh token, and returns it.
func (f *refresher) begin(t *Token) Secret {
	r := accesstoken.NewFamily(t.Slot.bytes())
	refreshToken, digest := r.Make(f.options.Prefix)
	state := rotation.State{Access: t.Digest, Current: digest, Family: familyDigest(r.Family[:]), SignedIn: t.IssuedAt.Unix()}
	f.set(t, &state)
	return NewSecret(refreshToken)
}

// set sets t.Refresh, and limits the lifetimes of both tokens. The refresh token
// never expires before the access token. So once it has expired, its sign-in is over.
func (f *refresher) set(t *Token, state *rotation.State) {
	signedIn := time.Unix(state.SignedIn, 0).UTC()
	end := signedIn.Add(f.options.MaxLifetime)
	expires := t.IssuedAt.Truncate(time.Second).Add(f.options.Lifetime)
	if t.ExpiresAt.After(expires) {
		expires = t.ExpiresAt
	}
	if expires.After(end) {
		expires = end
	}
	if t.ExpiresAt.After(end) {
		t.ExpiresAt = end
	}
	t.Refresh = &Refresh{ExpiresAt: expires, SignedInAt: signedIn, State: state.Encode()}
}

// A foundRefresh is the token in the slot of a presented refresh token, and the verdict
// about the refresh token.
type foundRefresh struct {
	token   *Token
	state   *rotation.State
	verdict rotation.Verdict
	index   int // of the rotation that a repetition repeats
}

// judge finds the sign-in of a presented refresh token. It returns errRefreshToken if
// the token belongs to no sign-in, or if its sign-in is over.
func (f *refresher) judge(ctx context.Context, p presentedRefresh) (found foundRefresh, err error) {
	found.token, err = f.lookups.find(ctx, p.slot)
	switch {
	case errors.Is(err, ErrNotFound):
		return found, errRefreshToken
	case errors.Is(err, ErrCorrupt):
		f.log.corrupt(ctx, err)
		return found, errRefreshToken
	case err == errPanic:
		return found, err
	case err != nil:
		return found, unavailable("finding a refresh token", err)
	}
	now := f.now()
	if found.state = found.token.refreshState(); found.state == nil {
		return found, errRefreshToken
	}
	found.verdict, found.index = found.state.Judge((*[32]byte)(&p.digest), (*[32]byte)(&p.family), p.Number, f.reader(now))
	switch {
	case found.verdict == rotation.Foreign:
		return found, errRefreshToken
	case now.Unix() >= found.token.Refresh.ExpiresAt.Unix():
		return found, errRefreshExpired
	}
	return found, nil
}

// derive returns the access token and the refresh token that replace a refresh token.
func (f *refresher) derive(p presentedRefresh, salt [16]byte) (access string, next presentedRefresh) {
	accessSecret, refreshSecret := rotation.Derive(f.key, p.text, salt)
	access, _ = accesstoken.Make(f.accessPrefix, p.Slot, accessSecret)
	next = p
	next.Refresh = p.Refresh.Next(refreshSecret)
	next.text, next.digest = next.Make(f.options.Prefix)
	return access, next
}
