package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func (s *service) routes() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gin.Recovery())
	r.POST("/api/users/login", s.login)

	api := r.Group("/api", ginadapter.RenderErrors(fail), ginadapter.RequireBearer(s.auth), s.setUserID)
	api.GET("/user", s.showUser)
	api.POST("/users/logout", s.logout)
	api.DELETE("/users/:id/tokens", ginadapter.RequireRole(s.auth, "admin"), s.endTokens)
	return r
}

// login handles POST /api/users/login: it checks a password and answers with a
// token.
func (s *service) login(c *gin.Context) {
	var in struct {
		User struct {
			Email    string `binding:"required,email,max=256"`
			Password string `binding:"required,max=1024"`
		}
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, 64<<10)
	if err := c.ShouldBindJSON(&in); err != nil {
		c.JSON(http.StatusOK, envelope{Code: failed, Msg: "The request needs a user with an email and a password."})
		return
	}
	credentials := s.auth.RequestCredentials(c.Request)
	credentials.UserName = in.User.Email
	credentials.Password = tokenauth.NewSecret(in.User.Password)
	issued, err := s.auth.SignIn(c.Request.Context(), credentials)
	if err != nil {
		refuse(c, err)
		return
	}
	id, err := issued.Token.Principal.NumericID()
	if err != nil {
		s.internal(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.JSON(http.StatusOK, envelope{Data: session{
		ID: id, Email: issued.Token.Principal.UserName,
		Token: issued.AccessToken.Reveal(), Expires: issued.Token.ExpiresAt,
	}})
}

// A session is the data of a successful login. Existing clients depend on its
// fields.
type session struct {
	ID      uint64    `json:"id"`
	Email   string    `json:"email"`
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// An envelope is the body of each response. Clients look at Code, and not at the
// HTTP status.
type envelope struct {
	Code int    `json:"code"` // 0 or failed
	Data any    `json:"data,omitempty"`
	Msg  string `json:"msg,omitempty"`
}

const failed = 7

// refuse answers to a request whose call of the Token API failed.
func refuse(c *gin.Context, err error) {
	e := tokenauth.ErrorResponseOf(err)
	e.SetHeaders(c.Writer.Header()) // such as Retry-After
	fail(c, e)
}

// fail writes an error in an envelope. The status is 200, as clients expect. But
// it is 429 if they must wait, and 500 or 503 if the service failed: proxies,
// HTTP libraries and monitoring look at the status.
func fail(c *gin.Context, e *tokenauth.ErrorResponse) {
	status := http.StatusOK
	if e.Status >= http.StatusTooManyRequests {
		status = e.Status
	}
	c.AbortWithStatusJSON(status, envelope{Code: failed, Msg: message(e)})
}

// message returns the text of an error for users.
func message(e *tokenauth.ErrorResponse) string {
	switch e.Code {
	case "invalid_grant":
		return "The email or the password is wrong."
	case "", "invalid_token":
		return "Please sign in."
	case "insufficient_scope":
		return "You are not allowed to do this."
	case "temporarily_unavailable":
		return fmt.Sprintf("Please try again in %d s.", e.RetryAfter)
	}
	return e.Description
}
