package main

import (
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// lifetime is how long a token is valid.
const lifetime = 30 * 24 * time.Hour

// A session is the response of /login and /api/refresh. Existing clients depend on
// its fields.
type session struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	User    caller    `json:"user"`
}

// login handles POST /login: it checks a password and answers with a token.
func (s *service) login(c *gin.Context) {
	var in struct{ Username, Password string }
	if !readJSON(c, &in) {
		return
	}
	address, _ := netip.ParseAddr(c.ClientIP())
	grant, err := s.auth.SignIn(c.Request.Context(), tokenauth.Credentials{
		UserName: in.Username, Password: tokenauth.NewSecret(in.Password), RemoteAddr: address,
	})
	if errors.Is(err, tokenauth.ErrRejected) {
		refuse(c, http.StatusUnauthorized, "wrong user name or password")
		return
	}
	s.answerToken(c, grant, err)
}

// refresh handles POST /api/refresh: it answers with a new token for the caller.
//
// The new token replaces the user's earlier token. From then on, a request with
// the earlier token gets 401, even if the client sent it before. So a client waits
// for its other requests before it calls this endpoint, and sends no request until
// it has the response. If the caller has a JWT, the JWT stays valid.
func (s *service) refresh(c *gin.Context) {
	user, err := s.findUser(c.Request.Context(), "id", signedIn(c).ID)
	if err != nil {
		s.internal(c, err)
		return
	}
	grant, err := s.auth.Issue(c.Request.Context(), principal(caller{user.ID, user.Name, user.Role}), nil)
	s.answerToken(c, grant, err)
}

func (s *service) answerToken(c *gin.Context, g tokenauth.IssuedToken, err error) {
	if throttled := (*tokenauth.ThrottledError)(nil); errors.As(err, &throttled) {
		c.Header("Retry-After", strconv.Itoa(int(throttled.RetryAfter.Seconds())+1))
		refuse(c, http.StatusTooManyRequests, "too many failed logins")
		return
	}
	if err != nil {
		refuse(c, http.StatusServiceUnavailable, "try again later")
		return
	}
	c.Header("Cache-Control", "no-store")
	c.JSON(http.StatusOK, session{g.AccessToken.Reveal(), g.Token.ExpiresAt, callerOf(g.Token.Principal)})
}
