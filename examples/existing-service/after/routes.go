package main

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bearerkit/bearerkit/ginadapter"
)

func (s *service) routes() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(s.logRequest, gin.CustomRecovery(func(c *gin.Context, _ any) {
		problem(c, http.StatusInternalServerError, "internal", "Something went wrong.")
	}))
	r.NoRoute(func(c *gin.Context) { problem(c, http.StatusNotFound, "not_found", "There is nothing here.") })

	r.GET("/", s.ordersPage)
	r.GET("/login", s.loginPage)
	r.POST("/login", s.login)
	r.POST("/logout", s.logout)

	ginadapter.Mount(r, s.auth)
	api := r.Group("/api", ginadapter.RenderErrors(renderRefusal), ginadapter.RequireBearer(s.auth), setCaller)
	api.GET("/orders", s.listOrders)
	api.POST("/orders", s.createOrder)
	api.DELETE("/orders/:id", ginadapter.RequireRole(s.auth, "manager", "admin"), s.deleteOrder)
	api.PUT("/password", s.changePassword)
	api.POST("/logout", s.revokeOwnToken)

	users := api.Group("/users", ginadapter.RequireRole(s.auth, "admin"))
	users.GET("", s.listUsers)
	users.PUT("/:id/disabled", s.setDisabled)
	users.GET("/:id/tokens", s.listTokens)
	users.DELETE("/:id/tokens", s.revokeTokens)
	users.DELETE("/:id/tokens/:token", s.revokeToken)

	r.GET("/healthz", func(c *gin.Context) {
		if err := s.auth.Health(c.Request.Context()); err != nil {
			problem(c, http.StatusServiceUnavailable, "unavailable", "The database does not answer.")
			return
		}
		c.JSON(http.StatusOK, gin.H{"status": "ok"})
	})
	r.GET("/metrics", gin.WrapH(promhttp.Handler()))
	return r
}

// logRequest logs the route of a request instead of its URL, since a query may
// contain personal data.
func (s *service) logRequest(c *gin.Context) {
	began := time.Now()
	c.Next()
	s.logger.LogAttrs(c.Request.Context(), slog.LevelInfo, "request",
		slog.String("method", c.Request.Method), slog.String("route", c.FullPath()),
		slog.Int("status", c.Writer.Status()), slog.Duration("took", time.Since(began)))
}
