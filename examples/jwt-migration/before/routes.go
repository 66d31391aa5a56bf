package main

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

func (s *service) routes() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gin.Recovery())
	r.SetTrustedProxies(nil)

	r.POST("/login", s.login)
	api := r.Group("/api", s.requireJWT)
	api.POST("/refresh", s.refresh)
	api.GET("/me", func(c *gin.Context) { c.JSON(http.StatusOK, signedIn(c)) })
	api.GET("/reports", func(c *gin.Context) { c.JSON(http.StatusOK, []string{"spring", "summer"}) })

	admin := api.Group("", requireRole("admin"))
	admin.DELETE("/reports/:name", func(c *gin.Context) { c.Status(http.StatusNoContent) })
	admin.PUT("/users/:id/disabled", s.setDisabled)
	return r
}
