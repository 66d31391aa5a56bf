package main

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
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

	api := r.Group("/api", s.requireSession)
	api.GET("/orders", s.listOrders)
	api.POST("/orders", s.createOrder)
	api.DELETE("/orders/:id", requireRole("manager", "admin"), s.deleteOrder)
	api.PUT("/password", s.changePassword)

	users := api.Group("/users", requireRole("admin"))
	users.GET("", s.listUsers)
	users.PUT("/:id/disabled", s.setDisabled)

	r.GET("/healthz", func(c *gin.Context) {
		if err := s.db.WithContext(c.Request.Context()).Exec("SELECT 1").Error; err != nil {
			problem(c, http.StatusServiceUnavailable, "unavailable", "The database does not answer.")
			return
		}
		c.JSON(http.StatusOK, gin.H{"status": "ok"})
	})
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
