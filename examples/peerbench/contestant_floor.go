package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// The ideal floor is the least work that a guard with a look-up can do: hash
// the token, find the digest in a map, compare the digests, and check the expiry.
// It has no size limit, no revocation, no roles and no error format.

type floorPrincipal struct {
	digest  [sha256.Size]byte
	expires time.Time
	tokenauth.Principal
}

func floorSyncMap(_ testing.TB, name string, users []tokenauth.Principal) contestant {
	var tokens sync.Map
	return floor(name, users,
		func(p *floorPrincipal) { tokens.Store(p.digest, p) },
		func(digest [sha256.Size]byte) *floorPrincipal {
			p, _ := tokens.Load(digest)
			principal, _ := p.(*floorPrincipal)
			return principal
		})
}

func floorMutexMap(_ testing.TB, name string, users []tokenauth.Principal) contestant {
	var mu sync.RWMutex
	tokens := make(map[[sha256.Size]byte]*floorPrincipal)
	return floor(name, users,
		func(p *floorPrincipal) { tokens[p.digest] = p },
		func(digest [sha256.Size]byte) *floorPrincipal {
			mu.RLock()
			p := tokens[digest]
			mu.RUnlock()
			return p
		})
}

func floor(name string, users []tokenauth.Principal, put func(*floorPrincipal), get func([sha256.Size]byte) *floorPrincipal) contestant {
	const length = 52
	var accessTokens []string
	for _, u := range users {
		accessToken := rand.Text() + rand.Text() // 256 random bits
		put(&floorPrincipal{digest: sha256.Sum256([]byte(accessToken)), expires: time.Now().Add(time.Hour), Principal: u})
		accessTokens = append(accessTokens, accessToken)
	}
	guard := func(c *gin.Context) {
		accessToken, ok := strings.CutPrefix(c.GetHeader("Authorization"), "Bearer ")
		if !ok || len(accessToken) != length {
			c.AbortWithStatus(http.StatusUnauthorized)
			return
		}
		var text [length]byte // stays on the stack, unlike []byte(accessToken)
		copy(text[:], accessToken)
		digest := sha256.Sum256(text[:])
		p := get(digest)
		if p == nil || subtle.ConstantTimeCompare(p.digest[:], digest[:]) != 1 || !time.Now().Before(p.expires) {
			c.AbortWithStatus(http.StatusUnauthorized)
			return
		}
		c.Set("principal", p)
	}
	who := func(c *gin.Context) string { return c.MustGet("principal").(*floorPrincipal).UserID }
	return contestant{name: name, handler: engine(guard, who)}.withBearers(accessTokens)
}
