package tokenauth_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func TestNewNamesTheInvalidRefreshOption(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	of := func(r tokenauth.RefreshOptions) tokenauth.Options { return tokenauth.Options{Refresh: &r} }
	withMax := of(tokenauth.RefreshOptions{})
	withMax.MaxLifetime = 90 * day
	samePrefix := of(tokenauth.RefreshOptions{Prefix: "x_"})
	samePrefix.Prefix = "x_"
	attribute, parameter := of(tokenauth.RefreshOptions{}), of(tokenauth.RefreshOptions{})
	attribute.ResponseAttributes, parameter.Parameters = []string{"Refresh_Token"}, []string{"Refresh_Token"}
	for name, test := range map[string]struct {
		want string
		o    tokenauth.Options
	}{
		"shorter than the access token": {"Options.Refresh.Lifetime is 24h0m0s", of(tokenauth.RefreshOptions{Lifetime: day})},
		"longer than the sign-in":       {"Options.Refresh.Lifetime is ", of(tokenauth.RefreshOptions{Lifetime: 91 * day, MaxLifetime: 90 * day})},
		"fractions of a second":         {"whole numbers of seconds", of(tokenauth.RefreshOptions{Lifetime: 30*day + time.Millisecond})},
		"a short sign-in":               {"Options.Refresh.MaxLifetime is ", of(tokenauth.RefreshOptions{MaxLifetime: day})},
		"a long sign-in":                {"Options.Refresh.MaxLifetime is ", of(tokenauth.RefreshOptions{MaxLifetime: 3651 * day})},
		"a short grace":                 {"Options.Refresh.Grace is ", of(tokenauth.RefreshOptions{Grace: time.Second - 1})},
		"a long grace":                  {"Options.Refresh.Grace is ", of(tokenauth.RefreshOptions{Grace: time.Minute + 1})},
		"a negative grace":              {"Options.Refresh.Grace is ", of(tokenauth.RefreshOptions{Grace: -1})},
		"a short key":                   {"Options.Refresh.Key has 31 bytes", of(tokenauth.RefreshOptions{Key: tokenauth.NewSecret(strings.Repeat("k", 31))})},
		"a long prefix":                 {"Options.Refresh.Prefix is ", of(tokenauth.RefreshOptions{Prefix: strings.Repeat("p", 17)})},
		"a prefix with a dot":           {"Options.Refresh.Prefix is ", of(tokenauth.RefreshOptions{Prefix: "trt."})},
		"the prefix of access tokens":   {"Options.Refresh.Prefix is that of access tokens", samePrefix},
		"MaxLifetime":                   {"Options.Refresh and Options.MaxLifetime are both set", withMax},
		"an attribute refresh_token":    {"Options.ResponseAttributes ", attribute},
		"a parameter refresh_token":     {"Options.Parameters ", parameter},
	} {
		_, err := tokenauth.New(new(memory.Store), new(reloading), &test.o)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "kkk") {
			t.Errorf("%s: the error has the key: %v", name, err)
		}
	}
}

// plainStorage hides the optional abilities of a storage.
type plainStorage struct{ tokenauth.Storage }

func TestRefreshNeedsItsAbilities(t *testing.T) {
	t.Parallel()
	o := &tokenauth.Options{Refresh: new(tokenauth.RefreshOptions)}
	for want, test := range map[string]struct {
		s tokenauth.Storage
		a tokenauth.Authenticator
	}{
		"needs a storage that is a Refresher":       {plainStorage{new(memory.Store)}, new(reloading)},
		"needs an Authenticator that is a Reloader": {new(memory.Store), new(staff)},
	} {
		if _, err := tokenauth.New(test.s, test.a, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestRefreshOptionsAreCopied(t *testing.T) {
	t.Parallel()
	r := tokenauth.RefreshOptions{Grace: 10 * time.Second, Key: sharedKey}
	auth := refreshing(t, new(memory.Store), tokenauth.Options{Refresh: &r})
	r.Grace, r.Lifetime = time.Minute, time.Second
	got := auth.Options()
	if got.Refresh.Grace != 10*time.Second || got.Refresh.Lifetime != 30*24*time.Hour || got.Refresh.MaxLifetime != 90*24*time.Hour || got.Refresh.Prefix != "trt_" {
		t.Errorf("the options are %+v", got.Refresh)
	}
	got.Refresh.Grace = time.Minute
	if auth.Options().Refresh.Grace != 10*time.Second {
		t.Error("a change of the returned options changes the Service")
	}
}

func TestRefreshWithoutTheOption(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), new(reloading), nil)
	if _, err := refresh(t, auth, tokenauth.NewSecret("trt_x")); !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("error %v, want ErrUnavailable", err)
	}
	if issued := signInAlice(t, auth); issued.RefreshToken.Reveal() != "" || issued.Token.Refresh != nil {
		t.Errorf("a sign-in returned a refresh token: %+v", issued.Token.Refresh)
	}
}

// The clocks of two processes may differ by 2 seconds. A repetition within the grace is
// then answered at both, and reuse is found at both, a few seconds later at the latest.
func TestRefreshesAtProcessesWhoseClocksDiffer(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, ahead := range []time.Duration{0, 2 * time.Second, -2 * time.Second} {
		store := new(memory.Store)
		auth := refreshing(t, store, tokenauth.Options{Now: func() time.Time { return now }})
		other := refreshing(t, store, tokenauth.Options{Now: func() time.Time { return now.Add(ahead) }})
		first := signInAlice(t, auth)
		second := mustRefresh(t, auth, first.RefreshToken)
		for _, after := range []time.Duration{0, 30 * time.Second} {
			now = now.Add(after)
			if again := mustRefresh(t, other, first.RefreshToken); !samePair(again, second) {
				t.Errorf("a clock that is %v ahead, %v after the refresh: another pair", ahead, after)
			}
		}
		now = now.Add(4*time.Second + time.Millisecond) // the grace, and twice the difference
		refusesRefresh(t, other, first.RefreshToken, second, false)
	}
}

// After a clock was set back by an hour, the age of a refresh is unknown. So a used
// refresh token is refused, and nothing ends. The current one is accepted.
func TestRefreshAfterAClockWasSetBack(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	store := new(memory.Store)
	auth := refreshing(t, store, tokenauth.Options{Now: func() time.Time { return now }})
	first := signInAlice(t, auth)
	second := mustRefresh(t, auth, first.RefreshToken)
	now = now.Add(-time.Hour)
	refusesRefresh(t, auth, first.RefreshToken, second, true)
	// refusesRefresh has used the second one, by the clock that was set back.
	third := mustRefresh(t, auth, second.RefreshToken)
	now = now.Add(time.Hour) // and corrected
	refusesRefresh(t, auth, second.RefreshToken, third, false)
}

func TestChangedPrefixOfRefreshTokens(t *testing.T) {
	t.Parallel()
	store := new(memory.Store)
	auth := refreshing(t, store, refreshOptions())
	first := signInAlice(t, auth)
	o := refreshOptions()
	o.Refresh.Prefix = "other_"
	changed := refreshing(t, store, o)
	if _, err := refresh(t, changed, first.RefreshToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Errorf("the refresh token with the prefix of before: error %v, want ErrInvalidToken", err)
	}
	if !isValid(t, changed, first) {
		t.Error("the access token is not valid with another prefix of refresh tokens")
	}
}
