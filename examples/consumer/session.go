package main

import (
	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// signIn handles POST /session: it is /Token for the page, with the tokens in cookies
// that no script can read.
func (s *service) signIn(c *gin.Context) {
	if !readForm(c, "grant_type", "username") {
		return
	}
	form := c.Request.PostForm
	credentials := s.auth.RequestCredentials(c.Request)
	grant := s.auth.SignIn
	if form.Get("grant_type") == "refresh_token" {
		credentials.RefreshToken = tokenauth.NewSecret(stay.Value(c.Request))
		grant = s.auth.Refresh
	} else {
		credentials.UserName = form.Get("username")
		credentials.Password = tokenauth.NewSecret(form.Get("password"))
		credentials.Device, credentials.DeviceName = form.Get("device"), form.Get("device_name")
		if code := form.Get(codeParameter); code != "" {
			credentials.Parameters = map[string]tokenauth.Secret{codeParameter: tokenauth.NewSecret(code)}
		}
	}
	issued, err := grant(c.Request.Context(), credentials)
	if err == nil { // a refused refresh clears no cookie: another tab may just have got a new one
		issued.SetCookie(c.Writer, c.Request, session)
		issued.SetRefreshCookie(c.Writer, c.Request, stay)
	}
	answer(c, err)
}

// signOut handles DELETE /session. It ends the sign-in, because clearing the cookies
// would leave it valid. The refresh token does so even if the access token has expired.
// An app without cookies has only the access token.
func (s *service) signOut(c *gin.Context) {
	err := s.auth.Revoke(c.Request.Context(), stay.Value(c.Request))
	if token, ok := ginadapter.From(c); ok && err == nil {
		err = s.auth.RevokeToken(c.Request.Context(), token)
	}
	if err == nil {
		session.Clear(c.Writer, c.Request)
		stay.Clear(c.Writer, c.Request)
	}
	answer(c, err)
}
