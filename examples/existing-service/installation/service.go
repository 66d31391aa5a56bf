package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/gorm"
	gormlogger "gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A service is the handler of all requests.
type service struct {
	engine atomic.Pointer[gin.Engine] // the installation page, then the routes
	auth   chan *tokenauth.Service    // gets the Service once it exists
	file   string                     // of the database
	logger *slog.Logger

	mu        sync.Mutex // guards the fields below
	code      string     // must be entered on the installation page
	db        *gorm.DB
	installed bool
}

// ServeHTTP passes each request to the engine of that moment.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.engine.Load().ServeHTTP(w, r)
}

// begin starts the service, or the installation page if there is no database yet,
// or no user in it.
func (s *service) begin(ctx context.Context) error {
	gin.SetMode(gin.ReleaseMode)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := os.Stat(s.file); !errors.Is(err, fs.ErrNotExist) {
		auth, users, err := s.open(ctx)
		if err != nil {
			return err
		}
		n, err := users.Count(ctx)
		if err != nil {
			return err
		}
		if n > 0 {
			s.start(auth)
			return nil
		}
	}
	s.code = rand.Text()
	s.engine.Store(s.installationRoutes())
	s.logger.Info("not installed yet: open /install and enter the code", "code", s.code)
	return nil
}

// open opens the database, creates its tables, and makes the Token API. It may be
// called again after an error.
func (s *service) open(ctx context.Context) (*tokenauth.Service, *gormstore.Users, error) {
	if s.db == nil {
		db, err := gorm.Open(gormlite.Open("file:"+s.file+"?_pragma=busy_timeout(1000)&_pragma=journal_mode(wal)&_txlock=immediate"), &gorm.Config{
			Logger: gormlogger.New(slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn), gormlogger.Config{
				LogLevel:                  gormlogger.Warn,
				SlowThreshold:             time.Second,
				IgnoreRecordNotFoundError: true,
				ParameterizedQueries:      true,
			}),
		})
		if err != nil {
			return nil, nil, err
		}
		s.db = db
	}
	if err := gormstore.Migrate(ctx, s.db, nil); err != nil {
		return nil, nil, err
	}
	store, err := gormstore.New(ctx, s.db, nil)
	if err != nil {
		return nil, nil, err
	}
	auth, err := tokenauth.New(store, store.Users(), &tokenauth.Options{Logger: s.logger})
	return auth, store.Users(), err
}

// start replaces the installation page by the routes of the service. Requests
// that arrive from then on are answered by the new routes.
func (s *service) start(auth *tokenauth.Service) {
	s.installed = true
	s.engine.Store(routes(auth))
	s.auth <- auth
}

func (s *service) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil
	}
	pool, err := s.db.DB()
	if err != nil {
		return err
	}
	return pool.Close()
}

// routes are the routes after the installation.
func routes(auth *tokenauth.Service) *gin.Engine {
	r := gin.New()
	r.Use(gin.Recovery())
	ginadapter.Mount(r, auth)
	r.GET("/api/me", ginadapter.RequireBearer(auth), func(c *gin.Context) {
		token, _ := ginadapter.From(c)
		c.JSON(http.StatusOK, gin.H{"name": token.Principal.UserName, "roles": token.Principal.Roles})
	})
	return r
}
