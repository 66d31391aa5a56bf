package main

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// refuse answers with an error in the form that the clients expect, and prevents
// the remaining handlers from running.
func refuse(c *gin.Context, status int, why string) {
	c.AbortWithStatusJSON(status, gin.H{"error": why})
}

// internal logs an error that the client did not cause, and answers 500.
func (s *service) internal(c *gin.Context, err error) {
	s.logger.ErrorContext(c.Request.Context(), "request failed", "route", c.FullPath(), "error", err)
	refuse(c, http.StatusInternalServerError, "internal error")
}

// readJSON decodes the body of a request. If it cannot, it answers 400 and
// returns false.
func readJSON(c *gin.Context, into any) bool {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, 64<<10)
	if err := c.ShouldBindJSON(into); err != nil {
		refuse(c, http.StatusBadRequest, "bad request")
		return false
	}
	return true
}
