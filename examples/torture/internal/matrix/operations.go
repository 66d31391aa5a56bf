package matrix

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/examples/torture/internal/accesstoken"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A matrixOperation is a call or request that a host or a client can make.
type matrixOperation struct {
	name string
	// fits reports whether the variant has the operation. Nil means that all have it.
	fits func(*variant) bool
	// about is whether the operation is tried with each subject's token.
	about bool
	do    func(ctx context.Context, w *world, subject string) answer
	// right returns the decision without a fault, and the user.
	right func(w *world, subject string) (decision, string)
	// account is the user who signs in, or "".
	account string
	// change is the call that makes the operation's change, or "". Ends returns the
	// subjects whose tokens are invalid after it.
	change string
	ends   func(subject string) []string
	// oneByOne is whether the operation ends the tokens of ends with a call for each. If
	// it fails, some of them may have ended.
	oneByOne bool
	// presents is the subject whose refresh token the operation presents, or "".
	presents string
	// ofEmpty is the right decision for an empty slot, if it is not denied.
	ofEmpty decision
}

// matrixOperations lists all operations.
var matrixOperations = slices.Concat(
	signIns("SignIn", func(ctx context.Context, w *world, user, password, device string) answer {
		g, err := w.auth.SignIn(ctx, tokenauth.Credentials{
			UserName: user, Password: tokenauth.NewSecret(password), ClientID: w.app(), ClientSecret: w.client, RemoteAddr: remoteAddr, Device: device,
		})
		return grantOf(g, err)
	}),
	refreshes("Refresh", denied, refreshOf),
	refreshRevocations("Revoke", func(ctx context.Context, w *world, refreshToken string) answer {
		return answerOf(w.auth.Revoke(ctx, refreshToken), completed)
	}),
	[]*matrixOperation{
		{
			name: "Issue", change: "Replace",
			do: func(ctx context.Context, w *world, _ string) answer {
				return grantOf(w.auth.Issue(ctx, principalOf("alice"), &tokenauth.IssueOptions{ClientID: w.app()}))
			},
			right: always(granted, "alice"),
			ends:  these("good"),
		},
		{
			name: "Validate", about: true, right: deserved,
			do: func(ctx context.Context, w *world, subject string) answer {
				t, err := w.auth.Validate(ctx, w.tokens[subject])
				a := answerOf(err, accepted)
				a.user = t.Principal.UserID
				return a
			},
		},
		{
			name: "Revoke", about: true, right: always(completed, ""), change: "Revoke", ends: itself,
			do: func(ctx context.Context, w *world, subject string) answer {
				return answerOf(w.auth.Revoke(ctx, w.tokens[subject]), completed)
			},
		},
		{
			name: "RevokeToken", about: true, right: always(completed, ""), change: "Revoke", oneByOne: true, ends: wholeSignIn,
			do: func(ctx context.Context, w *world, subject string) answer {
				return answerOf(w.auth.RevokeToken(ctx, accesstoken.StoredAs(w.tokens[subject])), completed)
			},
		},
		{
			name: "RevokeDevice", fits: hasDevices, ofEmpty: missing, change: "Revoke", ends: these("phone"),
			do: func(ctx context.Context, w *world, _ string) answer {
				return answerOf(w.auth.RevokeDevice(ctx, "alice", w.stored("phone").SlotID()), completed)
			},
			right: func(w *world, _ string) (decision, string) {
				if !w.holdsToken(context.Background(), "phone") {
					return missing, ""
				}
				return completed, ""
			},
		},
		{
			name: "RevokeUser, others", right: always(completed, ""), oneByOne: true, ends: these("desk", "phone", "tablet"),
			do: func(ctx context.Context, w *world, _ string) answer {
				return answerOf(w.auth.RevokeUser(ctx, "alice", w.stored("good")), completed)
			},
		},
		{
			name: "RevokeAll", right: always(completed, ""), change: "RevokeAll", ends: these("good", "desk", "other", "erin", "phone", "tablet", "rotated", "kept", "hugo"),
			do: func(ctx context.Context, w *world, _ string) answer {
				return answerOf(w.auth.RevokeAll(ctx), completed)
			},
		},
		{
			name: "Extend", fits: func(v *variant) bool { return v.devices && !v.refresh }, about: true, right: deserved,
			do: func(ctx context.Context, w *world, subject string) answer {
				t, err := w.auth.Extend(ctx, w.stored(subject))
				a := answerOf(err, accepted)
				if a.user = t.Principal.UserID; err == nil && w.holdsToken(ctx, subject) && t.ExpiresAt.Before(w.clock.Now().Add(lifetime)) {
					a.decision = undocumented
				}
				return a
			},
		},
		{
			name: "RevokeUser", right: always(completed, ""), change: "RevokeUser", ends: these("good", "desk", "phone", "tablet"),
			do: func(ctx context.Context, w *world, _ string) answer {
				return answerOf(w.auth.RevokeUser(ctx, "alice"), completed)
			},
		},
		{
			name: "RevokeClient", right: always(completed, ""), change: "RevokeClient", ends: these("good", "other", "erin", "phone", "tablet", "rotated", "kept", "hugo"),
			do: func(ctx context.Context, w *world, _ string) answer {
				return answerOf(w.auth.RevokeClient(ctx, w.app()), completed)
			},
		},
		{
			name: "Tokens", right: func(w *world, _ string) (decision, string) { return completed, alicesTokens(w.variant) },
			do: func(ctx context.Context, w *world, _ string) answer {
				tokens, err := w.auth.Tokens(ctx, "alice")
				a := answerOf(err, completed)
				var whose []string
				for _, t := range tokens {
					whose = append(whose, t.Principal.UserID)
				}
				a.user = strings.Join(whose, " ")
				return a
			},
		},
		{
			name: "Purge", right: always(completed, ""), change: "Purge", ends: these(),
			do: func(ctx context.Context, w *world, _ string) answer {
				_, err := w.auth.Purge(ctx)
				return answerOf(err, completed)
			},
		},
		{
			name: "Health", right: always(completed, ""),
			do: func(ctx context.Context, w *world, _ string) answer { return answerOf(w.auth.Health(ctx), completed) },
		},
		{
			name: "Unthrottle", right: always(completed, ""), change: "UpdateCounters", ends: these(),
			do: func(ctx context.Context, w *world, _ string) answer {
				return answerOf(w.auth.Unthrottle(ctx, "alice"), completed)
			},
		},
	},
	overHTTP("net/http", (*world).standard),
	overHTTP("Gin", (*world).gin),
)

// remoteAddr is the client address of requests of package httptest.
var remoteAddr = netip.MustParseAddr("192.0.2.1")

func hasDevices(v *variant) bool { return v.devices }

// alicesTokens returns the users of alice's valid tokens.
func alicesTokens(v *variant) string {
	if v.devices {
		return "alice alice alice alice"
	}
	return "alice alice"
}

// signIns returns sign-ins with the right password, with a wrong one, by a user who is
// disabled before [tokenauth.Rechecker.Recheck], and on a device beyond the bound.
func signIns(name string, signIn func(ctx context.Context, w *world, user, password, device string) answer) []*matrixOperation {
	on := func(user, password, device string) func(context.Context, *world, string) answer {
		return func(ctx context.Context, w *world, _ string) answer { return signIn(ctx, w, user, password, device) }
	}
	as := func(user, password string) func(context.Context, *world, string) answer {
		return on(user, password, "")
	}
	return []*matrixOperation{
		{name: name, account: "alice", do: as("alice", passwordOf("alice")), right: always(granted, "alice"), change: "Replace", ends: these("good")},
		{name: name + ", wrong password", account: "alice", do: as("alice", passwordOf("bob")), right: always(rejected, "")},
		{
			name: name + ", beyond the bound", account: "alice", fits: hasDevices, do: on("alice", passwordOf("alice"), "watch"),
			right: always(granted, "alice"), oneByOne: true, ends: these("phone"),
		},
		{name: name + ", disabled meanwhile", account: "erin", do: as("erin", passwordOf("erin")), right: always(rejected, ""), change: "Replace", ends: these("erin")},
	}
}

// overHTTP returns the operations that are HTTP requests.
func overHTTP(framework string, routes func(*world) http.Handler) (all []*matrixOperation) {
	send := func(ctx context.Context, w *world, method, path, bearer string, form url.Values) answer {
		var body strings.Reader
		if form != nil {
			body = *strings.NewReader(form.Encode())
		}
		r := httptest.NewRequestWithContext(ctx, method, path, &body)
		if bearer != "" {
			r.Header.Set("Authorization", "Bearer "+bearer)
		} else if w.clients {
			r.SetBasicAuth("app", w.client.Reveal())
		}
		recorder := httptest.NewRecorder()
		routes(w).ServeHTTP(recorder, r)
		return read(path, recorder)
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		all = append(all, signIns(framework+" "+method+" /Token", func(ctx context.Context, w *world, user, password, device string) answer {
			form := url.Values{"grant_type": {"password"}, "username": {user}, "password": {password}}
			if device != "" {
				form.Set("device", device)
			}
			return send(ctx, w, method, "/Token", "", form)
		})...)
	}
	registry := func(v *variant) bool { return v.clients }
	for _, route := range []struct {
		path  string
		fits  func(*variant) bool
		right func(*world, string) (decision, string)
	}{
		{guardedPath, nil, deserved},
		{optionalPath, nil, deserved},
		{rolePath, nil, unless(func(subject string) bool { return live[subject] != "alice" })},
		{clientPath, registry, unless(func(subject string) bool { return subject == "desk" })},
	} {
		all = append(all, &matrixOperation{
			name: framework + " GET " + route.path, fits: route.fits, about: true, right: route.right,
			do: func(ctx context.Context, w *world, subject string) answer {
				return send(ctx, w, http.MethodGet, route.path, w.tokens[subject], nil)
			},
		})
	}
	all = append(all, refreshesOverHTTP(framework, func(ctx context.Context, w *world, path string, form url.Values) answer {
		return send(ctx, w, http.MethodPost, path, "", form)
	})...)
	form := func(path string) func(context.Context, *world, string) answer {
		return func(ctx context.Context, w *world, subject string) answer {
			return send(ctx, w, http.MethodPost, path, "", url.Values{"token": {w.tokens[subject]}})
		}
	}
	return append(all,
		&matrixOperation{
			name: framework + " POST " + revokePath, about: true, do: form(revokePath), change: "Revoke", ends: itself, ofEmpty: completed,
			right: func(w *world, subject string) (decision, string) {
				// A client may end the token of another's empty slot, because there is none.
				empty := w.devices && !w.holdsToken(context.Background(), subject)
				if w.clients && subject == "desk" && !empty {
					return forbidden, ""
				}
				return completed, ""
			},
		},
		&matrixOperation{name: framework + " POST " + introspectPath, fits: registry, about: true, do: form(introspectPath), right: deserved},
	)
}

func grantOf(g tokenauth.IssuedToken, err error) answer {
	a := answerOf(err, granted)
	a.user, a.token, a.refresh = g.Token.Principal.UserID, g.AccessToken.Reveal(), g.RefreshToken.Reveal()
	return a
}

func always(d decision, user string) func(*world, string) (decision, string) {
	return func(*world, string) (decision, string) { return d, user }
}

// deserved returns the right decision about a subject, and its user.
func deserved(_ *world, subject string) (decision, string) {
	if user, ok := live[subject]; ok {
		return accepted, user
	}
	return denied, ""
}

// unless returns a function like deserved, for requests that some valid tokens may not
// make.
func unless(mayNot func(subject string) bool) func(*world, string) (decision, string) {
	return func(w *world, subject string) (decision, string) {
		d, user := deserved(w, subject)
		if d == accepted && mayNot(subject) {
			return forbidden, ""
		}
		return d, user
	}
}

// these returns an ends function for the subjects.
func these(subjects ...string) func(string) []string {
	return func(string) []string { return subjects }
}

// wholeSignIn is an ends function for the operation's own subject, and for the token by
// which a refresh replaced it.
func wholeSignIn(subject string) []string {
	switch subject {
	case "used":
		return []string{"rotated"}
	case "reused":
		return []string{"kept"}
	}
	return itself(subject)
}

// itself is an ends function for the operation's own subject.
func itself(subject string) []string { return []string{subject} }
