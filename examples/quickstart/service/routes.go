package service

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// routes returns a Gin engine with the Token API and two protected routes.
func routes(auth *tokenauth.Service) (http.Handler, error) {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gin.Recovery())

	mounted := ginadapter.Mount(r, auth, tokenauth.Endpoints{Revocation: "/revoke"})
	r.GET("/me", ginadapter.RequireBearer(auth), me)
	r.GET("/admin", ginadapter.RequireRole(auth, "Administrator"), me)

	r.GET("/", func(c *gin.Context) {
		c.Header("Location", "docs") // relative, so that it also works behind a proxy that removes a path prefix
		c.Status(http.StatusFound)
	})
	r.GET("/health", func(c *gin.Context) {
		if err := auth.Health(c.Request.Context()); err != nil {
			c.JSON(http.StatusServiceUnavailable, gin.H{"status": "storage unavailable"})
			return
		}
		c.JSON(http.StatusOK, gin.H{"status": "ok"})
	})
	return r, mountDocs(r, auth, mounted)
}

// me answers with the caller's user ID, user name and roles.
func me(c *gin.Context) {
	token, _ := ginadapter.From(c)
	c.JSON(http.StatusOK, struct {
		UserID   string `json:"userId"`
		UserName string `json:"userName"`
		Role     string `json:"role"`
	}{token.Principal.UserID, token.Principal.UserName, strings.Join(token.Principal.Roles, ",")})
}
