package main

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/gin-contrib/cors"
	"github.com/gin-gonic/gin"
	rscors "github.com/rs/cors"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// routes returns the API on Gin. Web pages from the given origins can call it.
func routes(auth *tokenauth.Service, origins ...string) http.Handler {
	r := gin.New()
	r.Use(gin.Recovery())
	r.Use(cors.New(cors.Config{ // on the engine, before Mount and before every guard
		AllowOrigins:  origins, // if the API itself serves pages, add its public origin
		AllowMethods:  []string{"GET", "POST", "PUT", "PATCH", "DELETE"},
		AllowHeaders:  []string{"Authorization", "Content-Type"},
		ExposeHeaders: []string{"Retry-After", "WWW-Authenticate"},
		MaxAge:        time.Hour, // how long browsers may cache the response to a preflight
	}))
	ginadapter.Mount(r, auth)
	api := r.Group("/api", ginadapter.RequireBearer(auth))
	api.GET("/me", func(c *gin.Context) {
		token, _ := ginadapter.From(c)
		c.JSON(http.StatusOK, gin.H{"userName": token.Principal.UserName})
	})
	api.GET("/reports", ginadapter.RequireRole(auth, "Administrator"), func(c *gin.Context) {
		c.JSON(http.StatusOK, []string{})
	})
	return r
}

// muxRoutes returns the same API on net/http.
func muxRoutes(auth *tokenauth.Service, origins ...string) http.Handler {
	mux := http.NewServeMux()
	auth.Mount(mux)
	mux.Handle("/api/me", auth.RequireBearer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := tokenauth.FromContext(r.Context())
		json.NewEncoder(w).Encode(map[string]string{"userName": token.Principal.UserName})
	})))
	mux.Handle("/api/reports", auth.RequireRole("Administrator")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("[]"))
	})))
	c := rscors.New(rscors.Options{ // wraps the whole mux
		AllowedOrigins: origins,
		AllowedMethods: []string{"GET", "POST", "PUT", "PATCH", "DELETE"},
		AllowedHeaders: []string{"Authorization", "Content-Type"},
		ExposedHeaders: []string{"Retry-After", "WWW-Authenticate"},
		MaxAge:         int(time.Hour / time.Second),
	})
	return c.Handler(mux)
}
