package main

import (
	"context"
	"database/sql"
	"errors"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// storeOptions are the options of the store in all processes. The table prefix
// keeps this example's users, whose password is public, out of other programs'
// tables.
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

// prepareDatabase creates the tables, the users, and the trigger that notifies the
// replicas of changes. It must be called before the first replica starts.
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
		_, err := store.Users().Create(ctx, gormstore.User{Name: name, Roles: []string{role}}, tokenauth.NewSecret(trialPassword))
		if err != nil && !errors.Is(err, gormstore.ErrExists) {
			return nil, err
		}
	}
	return pool, nil
}

const trialPassword = "password"
