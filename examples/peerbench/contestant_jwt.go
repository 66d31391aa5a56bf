package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	ginjwt "github.com/appleboy/gin-jwt/v2"
	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"

	"github.com/bearerkit/bearerkit/tokenauth"
)

func randomKey(size int) []byte {
	key := make([]byte, size)
	rand.Read(key)
	return key
}

// ginJWT is set up as in gin-jwt's README, with three differences: the key
// has 32 bytes, tokens are read only from the header, and MiddlewareInit is not
// called on every request.
func ginJWT(tb testing.TB, name string, users []tokenauth.Principal) contestant {
	type account struct{ ID string }
	const identityKey = "id"
	m, err := ginjwt.New(&ginjwt.GinJWTMiddleware{
		Realm:       "test zone",
		Key:         randomKey(32),
		Timeout:     time.Hour,
		MaxRefresh:  time.Hour,
		IdentityKey: identityKey,
		PayloadFunc: func(data any) ginjwt.MapClaims {
			u := data.(tokenauth.Principal)
			return ginjwt.MapClaims{identityKey: u.UserID, "name": u.UserName, "roles": u.Roles}
		},
		IdentityHandler: func(c *gin.Context) any {
			claims := ginjwt.ExtractClaims(c)
			return &account{ID: claims[identityKey].(string)}
		},
		Authorizator: func(data any, _ *gin.Context) bool {
			_, ok := data.(*account)
			return ok
		},
		TokenLookup:   "header: Authorization",
		TokenHeadName: "Bearer",
	})
	if err != nil {
		tb.Fatal(err)
	}
	var accessTokens []string
	for _, u := range users {
		accessToken, _, err := m.TokenGenerator(u)
		if err != nil {
			tb.Fatal(err)
		}
		accessTokens = append(accessTokens, accessToken)
	}
	who := func(c *gin.Context) string { return c.MustGet(identityKey).(*account).ID }
	return contestant{name: name, handler: engine(m.MiddlewareFunc(), who)}.withBearers(accessTokens)
}

func golangJWTHS256(tb testing.TB, name string, users []tokenauth.Principal) contestant {
	key := randomKey(32)
	return golangJWT(tb, name, users, jwt.SigningMethodHS256, key, key)
}

func golangJWTEdDSA(tb testing.TB, name string, users []tokenauth.Principal) contestant {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return golangJWT(tb, name, users, jwt.SigningMethodEdDSA, private, public)
}

type claims struct {
	jwt.RegisteredClaims
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
}

// golangJWT returns a contestant whose guard is carefully written by hand, with
// golang-jwt.
func golangJWT(tb testing.TB, name string, users []tokenauth.Principal, method jwt.SigningMethod, sign, verify any) contestant {
	var accessTokens []string
	for _, u := range users {
		now := time.Now()
		accessToken, err := jwt.NewWithClaims(method, &claims{
			RegisteredClaims: jwt.RegisteredClaims{
				Subject:   u.UserID,
				IssuedAt:  jwt.NewNumericDate(now),
				ExpiresAt: jwt.NewNumericDate(now.Add(time.Hour)),
			},
			Name:  u.UserName,
			Roles: u.Roles,
		}).SignedString(sign)
		if err != nil {
			tb.Fatal(err)
		}
		accessTokens = append(accessTokens, accessToken)
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{method.Alg()}), jwt.WithExpirationRequired())
	key := func(*jwt.Token) (any, error) { return verify, nil }
	guard := func(c *gin.Context) {
		accessToken, ok := strings.CutPrefix(c.GetHeader("Authorization"), "Bearer ")
		if !ok {
			c.AbortWithStatus(http.StatusUnauthorized)
			return
		}
		var found claims
		if _, err := parser.ParseWithClaims(accessToken, &found, key); err != nil {
			c.AbortWithStatus(http.StatusUnauthorized)
			return
		}
		c.Set("claims", &found)
	}
	who := func(c *gin.Context) string { return c.MustGet("claims").(*claims).Subject }
	return contestant{name: name, handler: engine(guard, who)}.withBearers(accessTokens)
}
