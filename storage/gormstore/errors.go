package gormstore

import (
	"errors"
	"fmt"

	"github.com/bearerkit/bearerkit/tokenauth"
)

var (
	// ErrExists is returned, wrapped with which of the two is taken, by
	// [Users.Create], [Users.Import], [Users.Rename], [Clients.Create],
	// [Clients.CreatePublic] and [Clients.Import] if a name or an ID is taken.
	ErrExists = errors.New("gormstore: already exists")

	// ErrInvalid is returned, wrapped with the reason, by the methods of [Users]
	// and [Clients], and by [Store.Replace], if a value cannot be stored.
	ErrInvalid = errors.New("gormstore: invalid value")

	// ErrSchemaVersion is returned, wrapped, by [New] if the tables are missing or
	// too old for this version of the package. Call [Migrate] first.
	ErrSchemaVersion = errors.New("gormstore: the schema is missing or too old: call gormstore.Migrate, or apply the SQL files in storage/gormstore/migrations")
)

var (
	errUserNotFound   = fmt.Errorf("gormstore: no such user: %w", tokenauth.ErrNotFound)
	errClientNotFound = fmt.Errorf("gormstore: no such client: %w", tokenauth.ErrNotFound)
)

// errSetting means that a database setting, such as autocommit=0, could cause tokens
// to be lost or garbled.
var errSetting = errors.New("gormstore: a setting of the database must change")

// errMemory means that each connection in the pool has its own in-memory SQLite
// database, or that an in-memory database was lost when its connection closed.
var errMemory = errors.New("gormstore: a SQLite database in memory, or without a name, belongs to one connection and is lost when that connection closes: use a file. Or let all connections share the database with file:NAME?mode=memory&cache=shared (with ncruces/go-sqlite3: file:/NAME?vfs=memdb), and keep at least one open. Or use a single connection that stays open: SetMaxOpenConns(1), and no SetMaxIdleConns(0), SetConnMaxLifetime or SetConnMaxIdleTime")
