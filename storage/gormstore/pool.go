package gormstore

import (
	"database/sql"
	"errors"
	"reflect"

	"gorm.io/gorm"
)

// resolverName is the name under which gorm.io/plugin/dbresolver registers itself.
const resolverName = "gorm:db_resolver"

// checkPool returns an error unless db uses the pool that gorm.Open opened. It
// rejects a pool selected by a dbresolver clause, because that may be a replica's
// pool; ended tokens may still exist at a replica. It rejects a single connection
// ([sql.Conn]), because that does not reconnect when it breaks.
func checkPool(db *gorm.DB) error {
	pool := unprepared(db.Statement.ConnPool)
	if _, ok := pool.(*sql.Conn); ok {
		return errors.New("gormstore: the *gorm.DB has only one connection (*sql.Conn); pass the *gorm.DB that gorm.Open returned")
	}
	if _, ok := db.Plugins[resolverName]; ok && !same(pool, unprepared(db.Config.ConnPool)) {
		return errors.New("gormstore: a clause of dbresolver (Read, Write or Use) selected a pool other than that of gorm.Open, perhaps a replica's; pass the *gorm.DB without the clause, or one that gorm.Open returned for the database of the tokens")
	}
	return nil
}

// unprepared returns the pool inside the wrapper that [gorm.Config.PrepareStmt] adds,
// or pool itself if it has no wrapper.
func unprepared(pool gorm.ConnPool) gorm.ConnPool {
	if p, ok := pool.(*gorm.PreparedStmtDB); ok {
		return p.ConnPool
	}
	return pool
}

// same reports whether a and b are the same pool. If the type of either pool is not
// comparable, same cannot tell, and returns true. A wrapper that the service wrote may
// have such a type.
func same(a, b gorm.ConnPool) bool {
	if !reflect.ValueOf(a).Comparable() || !reflect.ValueOf(b).Comparable() {
		return true
	}
	return a == b
}
