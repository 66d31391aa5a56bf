package matrix

import (
	"context"
	"crypto/sha256"
	"net/url"

	"github.com/bearerkit/bearerkit/tokenauth"
)

func hasRefresh(v *variant) bool { return v.refresh }

// refreshes returns refreshes with each kind of refresh token. Refused is the decision
// for one that is not valid.
func refreshes(name string, refused decision, refresh func(ctx context.Context, w *world, refreshToken string) answer) []*matrixOperation {
	with := func(kind, subject string, o matrixOperation) *matrixOperation {
		o.name, o.presents = name+", "+kind, subject
		if o.fits == nil {
			o.fits = hasRefresh
		}
		if o.right == nil {
			o.right = always(refused, "")
		}
		o.ofEmpty = refused
		o.do = func(ctx context.Context, w *world, _ string) answer { return refresh(ctx, w, w.refreshTokens[subject]) }
		return &o
	}
	return []*matrixOperation{
		with("current", "good", matrixOperation{right: always(granted, "alice"), change: "Refresh", ends: these("good")}),
		with("current after the grace of an earlier refresh", "kept", matrixOperation{right: always(granted, "gina"), change: "Refresh", ends: these("kept")}),
		with("used, within the grace", "used", matrixOperation{right: always(granted, "frank"), change: "Refresh", ends: these()}),
		with("used, after the grace", "reused", matrixOperation{oneByOne: true, ends: these("kept")}),
		with("made up", "made-up", matrixOperation{}),
		with("of a replaced sign-in", "replaced", matrixOperation{}),
		with("of a revoked sign-in", "revoked", matrixOperation{}),
		with("of a disabled user", "erin", matrixOperation{}),
		with("disabled meanwhile", "hugo", matrixOperation{change: "Refresh", ends: these("hugo")}),
		with("of another client", "desk", matrixOperation{fits: func(v *variant) bool { return v.refresh && v.clients }}),
	}
}

// refreshRevocations returns revocations with each kind of refresh token.
func refreshRevocations(name string, revoke func(ctx context.Context, w *world, refreshToken string) answer) (all []*matrixOperation) {
	for _, kind := range []struct {
		name, subject string
		ends          []string
	}{
		{"current", "good", []string{"good"}},
		{"used, within the grace", "used", []string{"rotated"}},
		{"used, after the grace", "reused", []string{"kept"}},
		{"made up", "made-up", nil},
		{"of a replaced sign-in", "replaced", nil},
	} {
		all = append(all, &matrixOperation{
			name: name + " of a refresh token, " + kind.name, fits: hasRefresh, right: always(completed, ""), ofEmpty: completed,
			oneByOne: true, ends: these(kind.ends...),
			do: func(ctx context.Context, w *world, _ string) answer {
				return revoke(ctx, w, w.refreshTokens[kind.subject])
			},
		})
	}
	return all
}

// refreshesOverHTTP returns the operations on refresh tokens that are HTTP requests.
func refreshesOverHTTP(framework string, post func(ctx context.Context, w *world, path string, form url.Values) answer) []*matrixOperation {
	all := refreshes(framework+" POST /Token, refresh token", rejected, func(ctx context.Context, w *world, refreshToken string) answer {
		return post(ctx, w, "/Token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}})
	})
	all = append(all, refreshRevocations(framework+" POST "+revokePath, func(ctx context.Context, w *world, refreshToken string) answer {
		return post(ctx, w, revokePath, url.Values{"token": {refreshToken}})
	})...)
	for _, kind := range []struct {
		name, subject string
		right         func(*world, string) (decision, string)
	}{
		{"current", "good", always(accepted, "alice")},
		{"used", "used", always(denied, "")},
		{"made up", "made-up", always(denied, "")},
	} {
		all = append(all, &matrixOperation{
			name:  framework + " POST " + introspectPath + " of a refresh token, " + kind.name,
			fits:  func(v *variant) bool { return v.refresh && v.clients },
			right: kind.right, presents: kind.subject,
			do: func(ctx context.Context, w *world, _ string) answer {
				return post(ctx, w, introspectPath, url.Values{"token": {w.refreshTokens[kind.subject]}, "token_type_hint": {"refresh_token"}})
			},
		})
	}
	return all
}

// refreshOf returns the answer of [tokenauth.Service.Refresh].
func refreshOf(ctx context.Context, w *world, refreshToken string) answer {
	return grantOf(w.refreshWith(ctx, refreshToken))
}

// another returns why a refresh that was granted is a violation, or "": an earlier try
// with the same refresh token was applied, so this one must return the same pair.
func (s *state) another(c *scenario, a answer) string {
	if c.presents == "" || a.decision != granted {
		return ""
	}
	digest := tokenauth.Digest(sha256.Sum256([]byte(a.token)))
	if !s.applied.IsZero() && s.applied != digest {
		return "the refresh was applied before, and its repetition returns another pair"
	}
	s.applied = digest
	return ""
}

// apply records the token that a refresh stored, whatever its answer.
func (s *state) apply(ctx context.Context, c *scenario) {
	if c.presents == "" || !s.did("Refresh") {
		return
	}
	if held, err := s.store.store.Find(ctx, s.stored(c.presents).Slot); err == nil {
		s.applied = held.Digest
	}
}

// goesOn returns why the sign-in of the pair that was granted last is a violation, or "".
// Its refresh token must return a new pair. The one before must then return the same.
func (s *state) goesOn(ctx context.Context, c *scenario) string {
	n := len(s.granted)
	if !c.refresh || n == 0 {
		return ""
	}
	last := s.granted[n-1]
	next, err := s.refreshWith(ctx, last.refresh)
	if err != nil {
		return "refreshing with the refresh token that was granted last: " + err.Error()
	}
	used := []string{last.refresh}
	if c.presents != "" {
		used = append(used, s.refreshTokens[c.presents])
	}
	for _, refreshToken := range used {
		switch again, err := s.refreshWith(ctx, refreshToken); {
		case err != nil:
			return "repeating a refresh: " + err.Error()
		case again.AccessToken.Reveal() != next.AccessToken.Reveal() || again.RefreshToken.Reveal() != next.RefreshToken.Reveal():
			return "repeating a refresh returns another pair"
		}
	}
	s.granted = append(s.granted, pair{next.Token.Principal.UserID, next.AccessToken.Reveal(), next.RefreshToken.Reveal()})
	for _, subject := range s.subjects() {
		if s.tokens[subject] == last.token {
			s.ended[subject] = true // it was the current token before the operation
		}
	}
	return ""
}
