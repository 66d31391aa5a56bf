package tokenauth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
)

// RefreshOptions configures refresh tokens ([Options.Refresh]). The zero value selects
// the defaults.
//
// Every sign-in then returns a refresh token beside the access token, and the token
// endpoint accepts the grant refresh_token (RFC 6749 §6). So an application can stay
// signed in without keeping the user's password, and access tokens can be short-lived
// ([Options.Lifetime]). Each refresh replaces both tokens. Whatever ends the access
// token's slot, such as [Service.RevokeUser], ends the refresh token as well.
//
// A refresh token that is used again after Grace ends the sign-in, because there is
// a copy of it (RFC 9700 §4.14.2).
//
// Turn refresh tokens on once all replicas run a version that has them. All Services
// that share a storage need the option: to one without it, a refresh token is
// malformed, so it neither accepts nor revokes it.
type RefreshOptions struct {
	// Lifetime is how long a refresh token is valid, in whole seconds. Zero means 30
	// days, or MaxLifetime if that is shorter. The range is [Options.Lifetime] to
	// MaxLifetime. A refresh token whose access token is valid for longer, for example
	// because of [Client.Lifetime], is valid until that expires.
	Lifetime time.Duration

	// MaxLifetime is how long a sign-in lasts at most, in whole seconds: no refresh
	// extends it, and no access token is valid for longer. The user then signs in with
	// the password again. If you shorten it, a sign-in that is older gets no more tokens.
	// Zero means 90 days, or Lifetime if that is longer. The range is Lifetime to 3650
	// days.
	MaxLifetime time.Duration

	// Grace is how long after a refresh a client may repeat it. It then gets the
	// same pair of tokens again, for example because the first answer was lost, or
	// because two tabs of a browser refreshed at once. At most 3 repetitions of a
	// refresh are answered. Zero means 30 seconds. The range is 1 second to 1 minute.
	//
	// The clocks of two replicas may differ by 2 seconds. If they differ by more, a
	// repetition at the other replica may be refused, or count as reuse.
	Grace time.Duration

	// Key is needed to derive the same pair of tokens again. It has at least 32 bytes
	// and is the same on all replicas. Keep it secret: with the Key, a copy of the
	// storage, and a refresh token of the last 4 refreshes, the current tokens can be
	// derived. The zero [Secret] means a random key for each process. Then a
	// repetition is refused if it reaches another process than the first try did, or
	// the same one after a restart. The user has to sign in again.
	Key Secret

	// Every refresh token begins with Prefix. It has 1 to 16 letters, digits, '-' and
	// '_', and differs from [Options.Prefix]. Empty means "trt_". If you change Prefix, the
	// Service refuses the refresh tokens that it issued before.
	Prefix string
}

// withDefaults returns a copy of o with the defaults filled in. The argument lifetime is
// [Options.Lifetime], and prefix is [Options.Prefix].
func (o *RefreshOptions) withDefaults(lifetime time.Duration, prefix string) (*RefreshOptions, error) {
	if o == nil {
		return nil, nil
	}
	c := *o
	days := max(30*24*time.Hour, lifetime)
	if c.MaxLifetime >= lifetime {
		days = min(days, c.MaxLifetime)
	}
	setDefault(&c.Lifetime, days)
	setDefault(&c.MaxLifetime, max(90*24*time.Hour, c.Lifetime))
	setDefault(&c.Grace, 30*time.Second)
	setDefault(&c.Prefix, "trt_")
	for _, d := range []struct {
		field         string
		got, min, max time.Duration
	}{
		{"MaxLifetime", c.MaxLifetime, lifetime, maxSignIn},
		{"Lifetime", c.Lifetime, lifetime, c.MaxLifetime},
		{"Grace", c.Grace, time.Second, time.Minute},
	} {
		if d.got < d.min || d.got > d.max {
			return nil, fmt.Errorf("tokenauth: Options.Refresh.%s is %v, must be from %v to %v", d.field, d.got, d.min, d.max)
		}
	}
	if c.Lifetime%time.Second != 0 || c.MaxLifetime%time.Second != 0 {
		return nil, fmt.Errorf("tokenauth: Options.Refresh.Lifetime is %v and MaxLifetime %v, must be whole numbers of seconds", c.Lifetime, c.MaxLifetime)
	}
	switch n := len(c.Key.Reveal()); {
	case n == 0:
		key := make([]byte, 32)
		rand.Read(key) // never returns an error
		c.Key = NewSecret(string(key))
	case n < 32:
		return nil, fmt.Errorf("tokenauth: Options.Refresh.Key has %d bytes, must have at least 32", n)
	}
	switch {
	case len(c.Prefix) > accesstoken.MaxPrefix || strings.ContainsFunc(c.Prefix, notBase64URL):
		return nil, fmt.Errorf("tokenauth: Options.Refresh.Prefix is %q, must be 1 to %d letters, digits, '-' and '_'", c.Prefix, accesstoken.MaxPrefix)
	case c.Prefix == prefix:
		return nil, errors.New("tokenauth: Options.Refresh.Prefix is that of access tokens, must be another one")
	}
	return &c, nil
}

const maxSignIn = 3650 * 24 * time.Hour // the largest RefreshOptions.MaxLifetime

// parameters returns the names of the parameters of a token request that belong to
// refreshing.
func (o *RefreshOptions) parameters() []string {
	if o == nil {
		return nil
	}
	return []string{"refresh_token"}
}
