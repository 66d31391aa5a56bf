package main

import (
	"errors"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"
)

// requireSession is middleware that lets through only requests with a valid session.
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

// requireRole returns middleware that lets through only callers that have one of
// the roles.
func requireRole(anyOf ...string) gin.HandlerFunc {
	return func(c *gin.Context) {
		if !slices.Contains(anyOf, signedIn(c).Role) {
			problem(c, http.StatusForbidden, "forbidden", "Your role does not allow this.")
		}
	}
}
