package main

import (
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
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
	credentials := s.auth.RequestCredentials(c.Request)
	credentials.UserName, credentials.Password = in.Username, tokenauth.NewSecret(in.Password)
	grant, err := s.auth.SignIn(c.Request.Context(), credentials)
	s.answerToken(c, grant, err)
}

// refresh handles POST /api/refresh: it extends the caller's token. The token stays
// the same string, so the client's other requests are not affected. A caller with a
// JWT gets a new token, which replaces the user's earlier token. The JWT stays
// valid.
func (s *service) refresh(c *gin.Context) {
	token, _ := ginadapter.From(c)
	if !token.Digest.IsZero() { // not a JWT
		_, accessToken, _ := strings.Cut(c.GetHeader("Authorization"), " ")
		extended, err := s.auth.Extend(c.Request.Context(), token)
		s.answerToken(c, tokenauth.IssuedToken{AccessToken: tokenauth.NewSecret(strings.TrimLeft(accessToken, " ")), Token: extended}, err)
		return
	}
	user, err := s.findUser(c.Request.Context(), "id", signedIn(c).ID)
	if err != nil {
		s.internal(c, err)
		return
	}
	grant, err := s.auth.Issue(c.Request.Context(), principal(caller{user.ID, user.Name, user.Role}), nil)
	s.answerToken(c, grant, err)
}

func (s *service) answerToken(c *gin.Context, g tokenauth.IssuedToken, err error) {
	if err != nil {
		e := tokenauth.ErrorResponseOf(err)
		e.SetHeaders(c.Writer.Header()) // such as Retry-After
		switch e.Status {
		case http.StatusBadRequest:
			refuse(c, http.StatusUnauthorized, "wrong user name or password")
		case http.StatusUnauthorized: // the token ended during the request
			refuse(c, e.Status, "unauthorized")
		case http.StatusTooManyRequests:
			refuse(c, e.Status, "too many failed logins")
		default:
			refuse(c, e.Status, "try again later")
		}
		return
	}
	c.Header("Cache-Control", "no-store")
	c.JSON(http.StatusOK, session{g.AccessToken.Reveal(), g.Token.ExpiresAt, callerOf(g.Token.Principal)})
}
