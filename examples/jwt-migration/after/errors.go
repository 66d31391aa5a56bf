package main

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// refuse answers with an error, as the clients know it, and goes no further.
func refuse(c *gin.Context, status int, why string) {
	c.AbortWithStatusJSON(status, gin.H{"error": why})
}

// internal answers for trouble that is not the client's.
func (s *service) internal(c *gin.Context, err error) {
	s.logger.ErrorContext(c.Request.Context(), "request failed", "route", c.FullPath(), "error", err)
	refuse(c, http.StatusInternalServerError, "internal error")
}

// readJSON reads the body of a request, or answers that it cannot be.
func readJSON(c *gin.Context, into any) bool {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, 64<<10)
	if err := c.ShouldBindJSON(into); err != nil {
		refuse(c, http.StatusBadRequest, "bad request")
		return false
	}
	return true
}
