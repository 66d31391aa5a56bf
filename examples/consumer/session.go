package main

import (
	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// signIn handles POST /session: it is /Token for the page, with the token in a
// cookie that no script can read.
func (s *service) signIn(c *gin.Context) {
	if !readForm(c, "username") {
		return
	}
	form := c.Request.PostForm
	credentials := s.auth.RequestCredentials(c.Request)
	credentials.UserName = form.Get("username")
	credentials.Password = tokenauth.NewSecret(form.Get("password"))
	credentials.Device, credentials.DeviceName = form.Get("device"), form.Get("device_name")
	if code := form.Get(codeParameter); code != "" {
		credentials.Parameters = map[string]tokenauth.Secret{codeParameter: tokenauth.NewSecret(code)}
	}
	issued, err := s.auth.SignIn(c.Request.Context(), credentials)
	if err == nil {
		issued.SetCookie(c.Writer, c.Request, session)
	}
	answer(c, err)
}

// signOut handles DELETE /session. It ends the token, because clearing the cookie
// would leave it valid.
func (s *service) signOut(c *gin.Context) {
	if token, ok := ginadapter.From(c); ok {
		if err := s.auth.RevokeToken(c.Request.Context(), token); err != nil {
			answer(c, err)
			return
		}
	}
	session.Clear(c.Writer, c.Request)
	answer(c, nil)
}
