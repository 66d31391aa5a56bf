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

// lifetime is how long a token is good.
const lifetime = 30 * 24 * time.Hour

// A session is the answer of /login and /api/refresh, as the clients know it.
type session struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	User    caller    `json:"user"`
}

// login signs a user in.
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

// refresh gives whoever has a good token a new one.
func (s *service) refresh(c *gin.Context) {
	user, err := s.findUser(c.Request.Context(), "id", signedIn(c).ID)
	if err != nil {
		s.internal(c, err)
		return
	}
	grant, err := s.auth.Issue(c.Request.Context(), principal(caller{user.ID, user.Name, user.Role}), "")
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
