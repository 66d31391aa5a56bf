package tokenauth_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

// Another replica made a token live on. The storage fails at the time when the token
// would have expired without that.
func TestStorageErrorEndsNoStreamOfATokenThatLivesOn(t *testing.T) {
	o := tokenauth.Options{Lifetime: 50 * time.Minute, MaxLifetime: 24 * time.Hour}
	inStreamBubble(t, o, func(t *testing.T, s *scripted, auth *tokenauth.Service, _, _ time.Duration) {
		other := newService(t, &s.Store, new(staff), &o)
		accessToken := issue(t, auth, alice(), "")
		stream, disconnect := openStream(t, auth, accessToken)
		defer disconnect()
		time.Sleep(20 * time.Minute)
		token, err := other.Validate(t.Context(), accessToken)
		if err != nil {
			t.Fatal(err)
		}
		if token, err = other.Extend(t.Context(), token); err != nil || time.Until(token.ExpiresAt) < 49*time.Minute {
			t.Fatal(token.ExpiresAt, err)
		}
		goesOn(t, stream, 30*time.Minute-5*time.Second)
		s.onCall(func(context.Context, string) error { return errors.New("the storage is down") })
		goesOn(t, stream, 10*time.Second)
		s.onCall(nil)
		goesOn(t, stream, 19*time.Minute)
		endsWith(t, stream, 3*time.Minute, "invalid expired")
	})
}

// An open stream does not count as a use of its token. A request does.
func TestStreamOfAnIdleTokenEnds(t *testing.T) {
	inStreamBubble(t, tokenauth.Options{IdleTimeout: 3 * time.Hour, PurgeInterval: time.Minute}, func(t *testing.T, s *scripted, auth *tokenauth.Service, _, _ time.Duration) {
		idle, disconnect := openStream(t, auth, issue(t, auth, alice(), ""))
		defer disconnect()
		accessToken := issue(t, auth, bob(), "")
		used, disconnect := openStream(t, auth, accessToken)
		defer disconnect()
		for range 7 {
			time.Sleep(30 * time.Minute)
			expect(t, auth, accessToken, "valid")
		}
		goesOn(t, idle, 0)
		for range 2 {
			time.Sleep(30 * time.Minute)
			expect(t, auth, accessToken, "valid")
		}
		endsWith(t, idle, time.Millisecond, "invalid")
		goesOn(t, used, 0)
		endsWith(t, used, 5*time.Hour, "invalid")
	})
}

// A request that Options.Fallback authenticated has no token of the Service, whose
// end could end it. It does not even need Run.
func TestStreamOfAFallbackEndsWithItsRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		auth := newService(t, new(memory.Store), new(staff), &tokenauth.Options{Fallback: func(r *http.Request) (tokenauth.Principal, error) {
			if r.Header.Get("Authorization") != "Bearer old" {
				return tokenauth.Principal{}, tokenauth.ErrRejected
			}
			return alice(), nil
		}})
		old, disconnect := openStream(t, auth, "old")
		ctx, stop := context.WithCancel(t.Context())
		go auth.Run(ctx)
		synctest.Wait()
		own, disconnectOwn := openStream(t, auth, issue(t, auth, alice(), ""))
		defer disconnectOwn()
		if err := auth.RevokeUser(t.Context(), "17"); err != nil {
			t.Fatal(err)
		}
		endsWith(t, own, 50*time.Millisecond, "invalid")
		goesOn(t, old, time.Hour)
		stop()
		goesOn(t, old, time.Hour)
		if token, ok := tokenauth.FromContext(old); !ok || token.Principal.UserID != "17" {
			t.Errorf("the handler gets %v, %v", token, ok)
		}
		disconnect()
		<-old.Done()
		synctest.Wait()
	})
}

// The end of a stream does not depend on where its request has the token.
func TestStreamEndsWhereverItsTokenIs(t *testing.T) {
	inStreamBubble(t, tokenauth.Options{Places: []place.Place{
		place.Scheme("Bearer"), place.Header("X-Token"), place.WebSocket{}, place.Cookie{Name: "session"}, place.InsecureQuery("token"),
	}}, func(t *testing.T, s *scripted, auth *tokenauth.Service, here, _ time.Duration) {
		for name, present := range map[string]func(r *http.Request, accessToken string){
			"scheme": func(r *http.Request, accessToken string) { r.Header.Set("Authorization", "Bearer "+accessToken) },
			"header": func(r *http.Request, accessToken string) { r.Header.Set("X-Token", accessToken) },
			"subprotocol": func(r *http.Request, accessToken string) {
				r.Header.Set("Sec-WebSocket-Protocol", "feed, bearer."+accessToken)
			},
			"cookie": func(r *http.Request, accessToken string) {
				r.AddCookie(&http.Cookie{Name: "__Host-session", Value: accessToken})
			},
			"query": func(r *http.Request, accessToken string) { r.URL.RawQuery = "token=" + accessToken },
		} {
			accessToken := issue(t, auth, alice(), "")
			ctx, disconnect := context.WithCancel(t.Context())
			r := httptest.NewRequest("GET", "https://app.example/", nil).WithContext(ctx)
			present(r, accessToken)
			// A guard in front of it has already validated the token.
			r, refusal := auth.Authorizer(tokenauth.Requirement{})(r)
			if refusal == nil {
				r, refusal = auth.Authorizer(tokenauth.Requirement{Stream: true})(r)
			}
			if refusal != nil {
				t.Fatal(name, refusal.Err)
			}
			goesOn(t, r.Context(), time.Minute)
			if err := auth.RevokeUser(t.Context(), "17"); err != nil {
				t.Fatal(err)
			}
			t.Log(name)
			endsWith(t, r.Context(), here, "invalid")
			disconnect()
		}
	})
}
