package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// installationRoutes are the routes before the installation. Every other request
// gets a 503 in the format of the token endpoint.
func (s *service) installationRoutes() *gin.Engine {
	r := gin.New()
	r.Use(gin.Recovery())
	r.GET("/install", func(c *gin.Context) { c.Data(http.StatusOK, "text/html; charset=utf-8", []byte(page)) })
	r.POST("/install", s.install)
	r.NoRoute(func(c *gin.Context) {
		c.JSON(http.StatusServiceUnavailable, gin.H{
			"error":             "temporarily_unavailable",
			"error_description": "This service is not installed yet. An administrator installs it at /install.",
		})
	})
	return r
}

const page = `<!DOCTYPE html>
<title>Installation</title>
<h1>Installation</h1>
<form method="post">
<p><label>Code from the log: <input name="code" required></label>
<p><label>Name of the administrator: <input name="name" required></label>
<p><label>Password, at least 12 characters: <input name="password" type="password" minlength="12" required></label>
<p><button>Install</button>
</form>
`

// install handles POST /install: it creates the database and the administrator,
// and starts the service. The administrator comes last, so that an installation
// that failed can be repeated.
func (s *service) install(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, 64<<10)
	code, name, newPassword := c.PostForm("code"), c.PostForm("name"), c.PostForm("password")
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.installed: // by another request
		c.String(http.StatusConflict, "The service is installed already.")
		return
	case subtle.ConstantTimeCompare([]byte(code), []byte(s.code)) != 1:
		c.String(http.StatusForbidden, "The code is wrong. It is in the log of the service.")
		return
	case len(newPassword) < 12:
		c.String(http.StatusBadRequest, "The password needs at least 12 characters.")
		return
	}
	ctx := context.WithoutCancel(c.Request.Context()) // finish even if the browser disconnects
	auth, users, err := s.open(ctx)
	if err == nil {
		_, err = users.Create(ctx, gormstore.User{Name: name, Roles: []string{"administrator"}}, tokenauth.NewSecret(newPassword))
	}
	switch {
	case errors.Is(err, gormstore.ErrInvalid), errors.Is(err, password.ErrUnacceptable):
		c.String(http.StatusBadRequest, "This name or this password is not allowed.")
	case err != nil:
		s.logger.ErrorContext(ctx, "installation failed", "error", err)
		c.String(http.StatusInternalServerError, "The installation failed. The reason is in the log of the service.")
	default:
		s.start(auth)
		c.String(http.StatusCreated, "The service is installed.")
	}
}
