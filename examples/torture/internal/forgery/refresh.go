package forgery

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"

	"github.com/bearerkit/bearerkit/examples/torture/internal/accesstoken"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// refreshEvery is the number of tries after which one is of a refresh token.
const refreshEvery = 25

// A refresher refreshes and revokes, as [tokenauth.Service] does.
type refresher interface {
	Refresh(context.Context, tokenauth.Credentials) (tokenauth.IssuedToken, error)
	Revoke(ctx context.Context, token string) error
}

// refreshForgeries lists the kinds of invalid refresh tokens. None may be accepted, and
// none may end a sign-in. A used refresh token, which may, is not one of them.
var refreshForgeries = []*forgery{
	{"made up for the slot", 6, func(rng *rand.Rand, m *mark) string { return accesstoken.MakeUp(rng, m.refresh) }},
	{"a bit of the family", 6, func(rng *rand.Rand, m *mark) string {
		return accesstoken.ForgeRefresh(rng, m.refresh, accesstoken.RefreshFamily)
	}},
	{"a bit of the slot", 2, func(rng *rand.Rand, m *mark) string {
		return accesstoken.ForgeRefresh(rng, m.refresh, accesstoken.RefreshSlot)
	}},
	{"another's slot", 4, func(_ *rand.Rand, m *mark) string { return accesstoken.MoveTo(m.refresh, m.nearRefresh) }},
	{"another version", 1, func(rng *rand.Rand, m *mark) string {
		return accesstoken.ForgeRefresh(rng, m.refresh, accesstoken.RefreshVersion)
	}},
	{"a wrong checksum", 1, func(rng *rand.Rand, m *mark) string {
		return accesstoken.ForgeRefresh(rng, m.refresh, accesstoken.RefreshChecksum)
	}},
	{"a character", 2, func(rng *rand.Rand, m *mark) string {
		text := []byte(m.refresh)
		text[rng.IntN(len(text))] = byte(rng.IntN(256))
		return string(text)
	}},
	{"cut off", 1, func(rng *rand.Rand, m *mark) string {
		at := rng.IntN(len(m.refresh))
		if rng.IntN(2) == 0 {
			return m.refresh[at+1:]
		}
		return m.refresh[:at]
	}},
	{"doubled, or longer", 1, func(rng *rand.Rand, m *mark) string {
		switch rng.IntN(3) {
		case 0:
			return m.refresh + m.refresh
		case 1:
			return m.refresh + m.refresh[:1+rng.IntN(len(m.refresh))]
		}
		return accesstoken.RefreshPrefix + m.refresh
	}},
	{"white space", 1, func(rng *rand.Rand, m *mark) string {
		return inserted(rng, m.refresh, []string{" ", "\t", "\n", "\r\n", "\x00", "\u00a0", "\ufeff"})
	}},
	{"another spelling", 1, func(rng *rand.Rand, m *mark) string {
		switch rng.IntN(3) {
		case 0:
			return strings.ToUpper(m.refresh)
		case 1:
			return m.refresh + strings.Repeat("=", 1+rng.IntN(4))
		}
		return strings.ToUpper(accesstoken.RefreshPrefix) + m.refresh[len(accesstoken.RefreshPrefix):]
	}},
	{"of a sign-in that was replaced", 3, func(_ *rand.Rand, m *mark) string { return m.replacedRefresh }},
	{"of a sign-in that was revoked", 2, func(_ *rand.Rand, m *mark) string { return m.revokedRefresh }},
	{"expired", 2, func(_ *rand.Rand, m *mark) string { return m.expiredRefresh }},
	{"of another service", 2, func(_ *rand.Rand, m *mark) string { return m.foreignRefresh }},
	{"of another prefix", 1, func(_ *rand.Rand, m *mark) string { return m.prefixedRefresh }},
	{"an access token", 2, func(rng *rand.Rand, m *mark) string {
		switch rng.IntN(3) {
		case 0:
			return accesstoken.RefreshPrefix + m.valid[len(accesstoken.Prefix):]
		case 1: // as long as a refresh token
			return (accesstoken.RefreshPrefix + m.valid[len(accesstoken.Prefix):] + m.refresh)[:len(m.refresh)]
		}
		return m.valid
	}},
}

// refreshAsAccess is a forgery of an access token from a refresh token.
var refreshAsAccess = &forgery{"a refresh token", 2, func(rng *rand.Rand, m *mark) string {
	body := m.refresh[len(accesstoken.RefreshPrefix):]
	switch rng.IntN(3) {
	case 0:
		return accesstoken.Prefix + body
	case 1: // as long as an access token
		return accesstoken.Prefix + body[:len(m.valid)-len(accesstoken.Prefix)]
	}
	return m.refresh
}}

// tryRefresh refreshes with a forgery, which must return [tokenauth.ErrInvalidToken], or
// revokes it, which must do nothing. Whether either ended the sign-in is found when the
// mark's valid pair is tried.
func (f *forger) tryRefresh(ctx context.Context, m *mark) {
	i := f.drawRefresh[f.rng.IntN(len(f.drawRefresh))]
	kind := len(forgeries) + len(disguises) + i
	text := refreshForgeries[i].make(f.rng, m)
	if text == m.refresh {
		return
	}
	f.tries[kind]++
	if text != m.valid && f.rng.IntN(4) == 0 {
		if err := m.refresher.Revoke(ctx, text); err != nil {
			f.Violate("forgery: %s: revoking a refresh token of kind %q returned the error %v", m.name, refreshForgeries[i].name, err)
		}
		return
	}
	_, err := m.refresher.Refresh(ctx, tokenauth.Credentials{RefreshToken: tokenauth.NewSecret(text)})
	if !errors.Is(err, tokenauth.ErrInvalidToken) {
		f.judge(kind, "refresh token, "+refreshForgeries[i].name, m, err)
	}
}

// refreshPair replaces the valid pair by refreshing it.
func (m *mark) refreshPair(ctx context.Context) error {
	g, err := m.refresher.Refresh(ctx, tokenauth.Credentials{RefreshToken: tokenauth.NewSecret(m.refresh)})
	if err == nil {
		m.replaced = m.valid
		m.hold(g)
	}
	return err
}

// hold makes the pair the valid one.
func (m *mark) hold(g tokenauth.IssuedToken) {
	m.valid, m.refresh = g.AccessToken.Reveal(), g.RefreshToken.Reveal()
	m.body.Open(m.valid)
}
