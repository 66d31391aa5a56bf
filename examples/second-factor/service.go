package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// A service holds the state that the handlers share.
type service struct {
	db     *gorm.DB
	logger *slog.Logger
	auth   *tokenauth.Service
	now    func() time.Time
}

// codeParameter is the parameter of a token request that has the one-time code.
const codeParameter = "otp"

// newService creates the tables and the trial users, unless they exist.
func newService(ctx context.Context, db *gorm.DB, logger *slog.Logger) (*service, error) {
	s := &service{db: db, logger: logger, now: time.Now}
	if err := gormstore.Migrate(ctx, db, nil); err != nil {
		return nil, err
	}
	if err := createTrialUsers(ctx, db); err != nil {
		return nil, err
	}
	store, err := gormstore.New(ctx, db, nil)
	if err != nil {
		return nil, err
	}
	users, err := password.New(s.account, &password.Options{Check: s.check, Logger: logger})
	if err != nil {
		return nil, err
	}
	s.auth, err = tokenauth.New(store, users, &tokenauth.Options{
		Parameters: []string{codeParameter},
		Logger:     logger,
	})
	return s, err
}

func (s *service) routes() http.Handler {
	r := gin.New()
	r.Use(gin.Recovery())
	r.SetTrustedProxies(nil)

	ginadapter.Mount(r, s.auth)
	api := r.Group("/api", ginadapter.RequireBearer(s.auth))
	api.GET("/me", func(c *gin.Context) {
		token, _ := ginadapter.From(c)
		c.JSON(http.StatusOK, gin.H{"id": token.Principal.UserID, "email": token.Principal.UserName})
	})
	api.POST("/factor", s.beginFactor)
	api.POST("/factor/confirm", s.confirmFactor)
	api.POST("/factor/remove", s.removeFactor)
	return r
}
