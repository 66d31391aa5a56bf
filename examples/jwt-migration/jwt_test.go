package jwtmigration_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// key returns the key that the server signs JWTs with.
func (s *server) key(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.data, "jwt.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := hex.DecodeString(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// claimsOf returns the claims of a valid JWT with changes; nil omits a claim.
func claimsOf(user session, changes jwt.MapClaims) jwt.MapClaims {
	claims := jwt.MapClaims{
		"iss": "reports", "sub": user.User.ID, "name": user.User.Name, "role": user.User.Role,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	return claims
}

// The scheme of the Authorization header is case-insensitive (RFC 9110 §11.1).
func TestBearerSchemeInAnyCase(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		bob := s.login(t, "bob")
		tokens := []string{bob.Token, sign(t, jwt.SigningMethodHS256, s.key(t), claimsOf(bob, nil))}
		for _, scheme := range []string{"Bearer", "bearer", "BEARER"} {
			for _, token := range tokens {
				r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+s.Addr+"/api/me", nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", scheme+" "+token)
				response, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				if response.StatusCode != http.StatusOK {
					t.Errorf("scheme %s with %.4s…: got %d, want 200", scheme, token, response.StatusCode)
				}
			}
		}
	})
}

func TestForgedJWTsAreRefused(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		bob, key := s.login(t, "bob"), s.key(t)
		hs256 := func(changes jwt.MapClaims) string {
			return sign(t, jwt.SigningMethodHS256, key, claimsOf(bob, changes))
		}
		good := hs256(nil)
		s.expect(t, good, "GET", "/api/me", "", 200, "")

		rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(good, ".")
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), "reader", "admin", 1)))
		for name, token := range map[string]string{
			"alg none":       sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claimsOf(bob, nil)),
			"no signature":   good[:strings.LastIndex(good, ".")+1],
			"another key":    sign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("k", 32)), claimsOf(bob, nil)),
			"no key":         sign(t, jwt.SigningMethodHS256, []byte{}, claimsOf(bob, nil)),
			"HS512":          sign(t, jwt.SigningMethodHS512, key, claimsOf(bob, nil)),
			"RS256":          sign(t, jwt.SigningMethodRS256, rsaKey, claimsOf(bob, nil)),
			"another role":   strings.Join(parts, "."),
			"expired":        hs256(jwt.MapClaims{"exp": time.Now().Add(-time.Second).Unix()}),
			"no expiry":      hs256(jwt.MapClaims{"exp": nil}),
			"not valid yet":  hs256(jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()}),
			"another issuer": hs256(jwt.MapClaims{"iss": "others"}),
			"no issuer":      hs256(jwt.MapClaims{"iss": nil}),
			"our prefix":     "tat_" + good,
		} {
			t.Run(name, func(t *testing.T) {
				s.expect(t, token, "GET", "/api/me", "", 401, unauthorized)
				s.expect(t, token, "POST", "/api/refresh", "", 401, unauthorized)
				s.expect(t, token, "DELETE", "/api/reports/spring", "", 401, unauthorized)
			})
		}
	})
}

// expectValidUntil calls a route repeatedly. The server must accept the token
// before the end, and reject it after the end.
func (s *server) expectValidUntil(t *testing.T, token string, end time.Time) {
	t.Helper()
	accepted := 0
	for deadline := end.Add(20 * time.Second); ; {
		asked := time.Now()
		a := s.call(t, token, "GET", "/api/me", "", "")
		answered := time.Now()
		switch a.StatusCode {
		case http.StatusOK:
			if accepted++; !asked.Before(end) {
				t.Fatalf("accepted the token %v after its end", asked.Sub(end))
			}
		case http.StatusUnauthorized:
			if answered.Before(end) {
				t.Fatalf("rejected the token %v before its end", end.Sub(answered))
			}
			if a.body != unauthorized || accepted == 0 {
				t.Errorf("got a 401 with %s after %d accepted requests, want %s after at least one", a.body, accepted, unauthorized)
			}
			return
		default:
			t.Fatalf("got %d %s, want 200 or 401", a.StatusCode, a.body)
		}
		if answered.After(deadline) {
			t.Fatal("a request took more than 20 seconds")
		}
		time.Sleep(5 * time.Millisecond) // leave processor time to other tests
	}
}

// Both versions of the service accept a JWT until it expires.
func TestJWTExpires(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		bob := s.login(t, "bob")
		end := time.Now().Add(4 * time.Second).Truncate(time.Second)
		s.expectValidUntil(t, sign(t, jwt.SigningMethodHS256, s.key(t), claimsOf(bob, jwt.MapClaims{"exp": end.Unix()})), end)
	})
}
