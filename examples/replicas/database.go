package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/storagetest/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// storeOptions are the same wherever the store is opened. The tables are this
// example's own: its users have a password that everybody knows.
var storeOptions = &gormstore.Options{TablePrefix: "replicas_", Feed: true}

// openDatabase opens a pool of connections.
func openDatabase(dsn string) (*gorm.DB, *sql.DB, error) {
	db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		return nil, nil, err
	}
	pool, err := db.DB()
	return db, pool, err
}

// prepareDatabase does what comes before the first replica starts: it makes the
// tables and the trigger that tells of changes, and some users.
func prepareDatabase(ctx context.Context, dsn string) (pool *sql.DB, err error) {
	db, pool, err := openDatabase(dsn)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			pool.Close()
		}
	}()
	if err := gormstore.Migrate(ctx, db, storeOptions); err != nil {
		return nil, err
	}
	store, err := gormstore.New(ctx, db, storeOptions)
	if err != nil {
		return nil, err
	}
	for name, role := range map[string]string{"alice": "Reader", "bob": "Reader", "operator": "Administrator"} {
		_, err := store.Users().Create(ctx, gormstore.NewUser{Name: name, Password: tokenauth.NewSecret(trialPassword), Roles: []string{role}})
		if err != nil && !errors.Is(err, gormstore.ErrUserExists) {
			return nil, err
		}
	}
	return pool, nil
}

const trialPassword = "password"

// startPostgres starts a server that goes away with stop.
func startPostgres() (dsn string, stop func(), err error) {
	var s standIn
	defer func() {
		switch p := recover().(type) {
		case nil:
		case gaveUp:
			s.cleanUp()
			err = errors.New(string(p))
		default:
			panic(p)
		}
	}()
	return throwaway.StartPostgres(&s).DSN(), s.cleanUp, nil
}

// A standIn is a test where there is none: the throwaway servers are made for
// tests, and are good for examples.
type standIn struct {
	testing.TB // nil: what is not below is not there
	cleanups   []func()
}

type gaveUp string

func (s *standIn) Helper()           {}
func (s *standIn) Cleanup(f func())  { s.cleanups = append(s.cleanups, f) }
func (s *standIn) Fatal(args ...any) { panic(gaveUp(fmt.Sprint(args...))) }
func (s *standIn) Skip(args ...any)  { s.Fatal(args...) }

func (s *standIn) cleanUp() {
	for _, f := range s.cleanups {
		f()
	}
}
