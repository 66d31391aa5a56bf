package main

import (
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"
)

// requireJWT lets only requests with a good JWT through.
func (s *service) requireJWT(c *gin.Context) {
	who, err := s.jwtCaller(c.Request)
	if err != nil {
		refuse(c, http.StatusUnauthorized, "unauthorized")
		return
	}
	c.Set("caller", who)
}

// requireRole lets only callers with one of the roles through.
func requireRole(anyOf ...string) gin.HandlerFunc {
	return func(c *gin.Context) {
		if !slices.Contains(anyOf, signedIn(c).Role) {
			refuse(c, http.StatusForbidden, "forbidden")
		}
	}
}
