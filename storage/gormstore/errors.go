package gormstore

import (
	"errors"
	"fmt"

	"github.com/bearerkit/bearerkit/tokenauth"
)

var (
	// ErrExists is returned by [Users.Create], [Users.Import], [Clients.Create] and
	// [Clients.CreatePublic] if the name or the ID is taken.
	ErrExists = errors.New("gormstore: exists already")

	// ErrInvalid is returned, wrapped with the reason, by the methods of [Users]
	// and [Clients], and by [Store.Replace], for a value that cannot be stored.
	ErrInvalid = errors.New("gormstore: invalid")

	// ErrSchemaVersion is returned, wrapped, by [New] if the tables are missing or
	// too old for this version of the package. Call [Migrate] first.
	ErrSchemaVersion = errors.New("gormstore: the schema is missing or too old: call gormstore.Migrate, or apply the SQL files in storage/gormstore/migrations")
)

var (
	errUserNotFound   = fmt.Errorf("gormstore: no such user: %w", tokenauth.ErrNotFound)
	errClientNotFound = fmt.Errorf("gormstore: no such client: %w", tokenauth.ErrNotFound)
)

// errSetting means that tokens could be lost or garbled with a setting of the
// database, such as autocommit=0.
var errSetting = errors.New("gormstore: a setting of the database must change")

// errMemory means that each connection of the pool has its own SQLite database in
// memory, or that such a database ended with its connection.
var errMemory = errors.New("gormstore: a SQLite database in memory, or without a name, belongs to one connection and ends with it: use a file; or a database that all connections share while one of them is open, file:NAME?mode=memory&cache=shared, or file:/NAME?vfs=memdb with ncruces/go-sqlite3; or keep one connection open all the time, with SetMaxOpenConns(1) and without SetMaxIdleConns(0), SetConnMaxLifetime and SetConnMaxIdleTime")
