package main

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
)

func (s *service) routes() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gin.Recovery())
	r.SetTrustedProxies(nil)

	ginadapter.Mount(r, s.auth)
	r.POST("/login", s.login)
	api := r.Group("/api", ginadapter.RenderErrors(renderRefusal), ginadapter.RequireBearer(s.auth), setCaller)
	api.POST("/refresh", s.refresh)
	api.GET("/me", func(c *gin.Context) { c.JSON(http.StatusOK, signedIn(c)) })
	api.GET("/reports", func(c *gin.Context) { c.JSON(http.StatusOK, []string{"spring", "summer"}) })

	admin := api.Group("", ginadapter.RequireRole(s.auth, "admin"))
	admin.DELETE("/reports/:name", func(c *gin.Context) { c.Status(http.StatusNoContent) })
	admin.PUT("/users/:id/disabled", s.setDisabled)
	admin.GET("/old-tokens", s.oldTokens.show)
	return r
}
