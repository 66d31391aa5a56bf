package main

import (
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"
)

// requireJWT is middleware that lets through only requests with a valid JWT.
func (s *service) requireJWT(c *gin.Context) {
	who, err := s.jwtCaller(c.Request)
	if err != nil {
		refuse(c, http.StatusUnauthorized, "unauthorized")
		return
	}
	c.Set("caller", who)
}

// requireRole returns middleware that lets through only callers that have one of
// the roles.
func requireRole(anyOf ...string) gin.HandlerFunc {
	return func(c *gin.Context) {
		if !slices.Contains(anyOf, signedIn(c).Role) {
			refuse(c, http.StatusForbidden, "forbidden")
		}
	}
}
