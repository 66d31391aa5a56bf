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

// oldTokens is an Observer that remembers who still came with a JWT, since this
// process started. There are at most as many as there are users.
type oldTokens struct {
	mu    sync.Mutex
	users map[string]oldToken // by name
}

type oldToken struct {
	Requests int       `json:"requests"`
	Last     time.Time `json:"last"`
}

// Observe is one of tokenauth.Options.Observers.
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

// show answers with them.
func (o *oldTokens) show(c *gin.Context) {
	o.mu.Lock()
	users := maps.Clone(o.users)
	o.mu.Unlock()
	if users == nil {
		users = map[string]oldToken{}
	}
	c.JSON(http.StatusOK, users)
}
