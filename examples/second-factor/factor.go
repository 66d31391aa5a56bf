package main

import (
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/pquerna/otp/totp"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// beginFactor handles POST /api/factor: it answers with a new secret for the
// user's authenticator app. Until a code confirms it, sign-ins need no code.
func (s *service) beginFactor(c *gin.Context) {
	user, _, ok := s.verify(c)
	if !ok {
		return
	}
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "Second factor", AccountName: user.Email})
	if err != nil {
		s.refuse(c, err)
		return
	}
	begun := s.db.WithContext(c.Request.Context()).Model(&User{}).
		Where("id = ? AND totp_on = ?", user.ID, false).
		Update("totp_secret", key.Secret())
	switch {
	case begun.Error != nil:
		s.refuse(c, begun.Error)
	case begun.RowsAffected == 0:
		writeError(c, http.StatusConflict, "factor_on", factorOn)
	default:
		c.Header("Cache-Control", "no-store")
		c.JSON(http.StatusOK, gin.H{"secret": key.Secret(), "url": key.String()}) // show the URL as a QR code
	}
}

// confirmFactor handles POST /api/factor/confirm: it turns the factor on if the
// code shows that the user's app has the secret.
func (s *service) confirmFactor(c *gin.Context) {
	user, code, ok := s.verify(c)
	if !ok {
		return
	}
	used, err := s.useCode(c.Request.Context(), user, code)
	if err == nil && !used {
		err = errCodeWrong
	}
	if err != nil {
		s.refuse(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

// removeFactor handles POST /api/factor/remove. If the factor is on, verify has
// asked for a code. It removes no factor that was turned on since then.
func (s *service) removeFactor(c *gin.Context) {
	user, _, ok := s.verify(c)
	if !ok {
		return
	}
	removed := s.db.WithContext(c.Request.Context()).Model(&User{}).
		Where("id = ? AND totp_on = ?", user.ID, user.TOTPOn).
		Updates(map[string]any{"totp_secret": "", "totp_on": false, "totp_step": 0})
	switch {
	case removed.Error != nil:
		s.refuse(c, removed.Error)
	case removed.RowsAffected == 0:
		writeError(c, http.StatusConflict, "factor_on", factorOn)
	default:
		c.Status(http.StatusNoContent)
	}
}

// verify reads the caller's password and code from the body, and checks them as a
// sign-in does. It returns the caller's row and the code. If they are wrong, it
// writes the response and returns false.
func (s *service) verify(c *gin.Context) (user User, code string, ok bool) {
	var body struct{ Password, OTP string }
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, 8<<10)
	if err := c.ShouldBindJSON(&body); err != nil {
		writeError(c, http.StatusBadRequest, "invalid_request", "Send a JSON object with password and otp.")
		return User{}, "", false
	}
	token, _ := ginadapter.From(c)
	credentials := s.auth.RequestCredentials(c.Request)
	credentials.UserName = token.Principal.UserName
	credentials.Password = tokenauth.NewSecret(body.Password)
	if body.OTP != "" {
		credentials.Parameters = map[string]tokenauth.Secret{codeParameter: tokenauth.NewSecret(body.OTP)}
	}
	p, err := s.auth.VerifyPassword(c.Request.Context(), credentials)
	if err == nil && p.UserID != token.Principal.UserID { // another user has the address now
		err = tokenauth.ErrRejected
	}
	if err != nil {
		s.refuse(c, err)
		return User{}, "", false
	}
	return p.Row.(User), body.OTP, true
}

// refuse answers as the token endpoint does. It logs errors that the client did
// not cause.
func (s *service) refuse(c *gin.Context, err error) {
	e := tokenauth.ErrorResponseOf(err)
	if e.Status >= http.StatusInternalServerError {
		s.logger.ErrorContext(c.Request.Context(), "request failed", "route", c.FullPath(), "error", err)
	}
	e.SetHeaders(c.Writer.Header())
	writeError(c, e.Status, e.Code, e.Description)
}

const factorOn = "The second factor is on. Remove it with a code first."

func writeError(c *gin.Context, status int, code, description string) {
	c.JSON(status, gin.H{"error": code, "error_description": description})
}
