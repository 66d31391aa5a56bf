package main

import (
	"context"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// oldTokens counts, for each user, the requests with a JWT since this process
// started. It has at most one entry for each user.
type oldTokens struct {
	mu    sync.Mutex
	users map[string]oldToken // by name
}

type oldToken struct {
	Requests int       `json:"requests"`
	Last     time.Time `json:"last"`
}

// Observe counts a request that [tokenauth.Options.Fallback] authenticated. It
// is one of [tokenauth.Options.Observers].
func (o *oldTokens) Observe(_ context.Context, e tokenauth.Event) {
	if e.Kind != event.Validated || e.Reason != event.ReasonFallback {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.users == nil {
		o.users = make(map[string]oldToken)
	}
	u := o.users[e.UserName]
	o.users[e.UserName] = oldToken{u.Requests + 1, time.Now()}
}

// show handles GET /api/old-tokens: it answers with the counts by user name.
func (o *oldTokens) show(c *gin.Context) {
	o.mu.Lock()
	users := maps.Clone(o.users)
	o.mu.Unlock()
	if users == nil {
		users = map[string]oldToken{}
	}
	c.JSON(http.StatusOK, users)
}
