package main

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// A problemDetails is the body of an error response (RFC 9457). Clients should
// rely on its Code, not on the texts.
type problemDetails struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// problem answers with an error, and prevents the remaining handlers from running.
func problem(c *gin.Context, status int, code, detail string) {
	c.Header("Content-Type", "application/problem+json")
	c.AbortWithStatusJSON(status, problemDetails{http.StatusText(status), status, code, detail})
}

// internal logs an error that the client did not cause, and answers 500.
func (s *service) internal(c *gin.Context, err error) {
	s.logger.ErrorContext(c.Request.Context(), "request failed", "route", c.FullPath(), "error", err)
	problem(c, http.StatusInternalServerError, "internal", "Something went wrong.")
}

// readJSON decodes the body of a request. If it cannot, it answers 400 and
// returns false.
func readJSON(c *gin.Context, into any) bool {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, 64<<10)
	if err := c.ShouldBindJSON(into); err != nil {
		problem(c, http.StatusBadRequest, "bad_request", "The body must be the JSON that this route takes.")
		return false
	}
	return true
}
