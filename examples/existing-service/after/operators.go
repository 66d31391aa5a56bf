package main

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A tokenView is a token as the API shows it to an administrator.
type tokenView struct {
	ID      string    `json:"id"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
}

// tokenID returns the ID that also identifies the token in the log. It is not
// secret.
func tokenID(t tokenauth.Token) string { return t.Digest.String()[:16] }

// revokeOwnToken handles POST /api/logout: it ends the token of the request.
func (s *service) revokeOwnToken(c *gin.Context) {
	token, _ := ginadapter.From(c)
	switch err := s.auth.RevokeToken(c.Request.Context(), token); {
	case errors.Is(err, tokenauth.ErrInvalidToken):
		problem(c, http.StatusBadRequest, "no_token", "This is a session; POST /logout ends it.")
	case err != nil:
		unavailable(c)
	default:
		c.Status(http.StatusNoContent)
	}
}

func (s *service) listTokens(c *gin.Context) {
	tokens, err := s.auth.Tokens(c.Request.Context(), c.Param("id"))
	if err != nil {
		unavailable(c)
		return
	}
	views := make([]tokenView, len(tokens))
	for i, t := range tokens {
		views[i] = tokenView{tokenID(t), t.IssuedAt, t.ExpiresAt}
	}
	c.JSON(http.StatusOK, views)
}

func (s *service) revokeToken(c *gin.Context) {
	tokens, err := s.auth.Tokens(c.Request.Context(), c.Param("id"))
	if err != nil {
		unavailable(c)
		return
	}
	i := slices.IndexFunc(tokens, func(t tokenauth.Token) bool { return tokenID(t) == c.Param("token") })
	if i < 0 {
		problem(c, http.StatusNotFound, "not_found", "There is no such token.")
		return
	}
	if err := s.auth.RevokeToken(c.Request.Context(), tokens[i]); err != nil {
		unavailable(c)
		return
	}
	c.Status(http.StatusNoContent)
}

// revokeTokens ends all tokens of a user, including stolen ones.
func (s *service) revokeTokens(c *gin.Context) {
	if err := s.auth.RevokeUser(c.Request.Context(), c.Param("id")); err != nil {
		unavailable(c)
		return
	}
	c.Status(http.StatusNoContent)
}

func unavailable(c *gin.Context) {
	problem(c, http.StatusServiceUnavailable, "unavailable", "Try again later.")
}
