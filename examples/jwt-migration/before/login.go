package main

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
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
	user, err := s.checkPassword(c.Request.Context(), in.Username, in.Password)
	if errors.Is(err, errPassword) {
		refuse(c, http.StatusUnauthorized, "wrong user name or password")
		return
	}
	if err != nil {
		s.internal(c, err)
		return
	}
	s.answerToken(c, user)
}

// refresh handles POST /api/refresh: it answers with a new token for the caller.
func (s *service) refresh(c *gin.Context) {
	user, err := s.findUser(c.Request.Context(), "id", signedIn(c).ID)
	if err != nil {
		s.internal(c, err)
		return
	}
	s.answerToken(c, user)
}

func (s *service) answerToken(c *gin.Context, u User) {
	token, expires, err := s.signJWT(u)
	if err != nil {
		s.internal(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.JSON(http.StatusOK, session{token, expires, caller{u.ID, u.Name, u.Role}})
}
