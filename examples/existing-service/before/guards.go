package main

import (
	"errors"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"
)

// requireSession lets only requests with a good session through.
func (s *service) requireSession(c *gin.Context) {
	who, err := s.sessionCaller(c.Request)
	switch {
	case errors.Is(err, errNoSession):
		problem(c, http.StatusUnauthorized, "unauthenticated", "Sign in first.")
	case err != nil:
		s.internal(c, err)
	default:
		c.Set("caller", who)
	}
}

// requireRole lets only callers with one of the roles through.
func requireRole(anyOf ...string) gin.HandlerFunc {
	return func(c *gin.Context) {
		if !slices.Contains(anyOf, signedIn(c).Role) {
			problem(c, http.StatusForbidden, "forbidden", "Your role does not allow this.")
		}
	}
}
