package gormstore

import (
	"database/sql"
	"errors"
	"reflect"

	"gorm.io/gorm"
)

// resolverName is how gorm.io/plugin/dbresolver registers itself.
const resolverName = "gorm:db_resolver"

// checkPool returns an error if statements would go elsewhere than to the pool that
// the host opened: to a replica that a clause of dbresolver chose, where tokens that
// have ended are still there, or to one connection, which does not come back when it
// breaks.
func checkPool(db *gorm.DB) error {
	pool := unprepared(db.Statement.ConnPool)
	if _, ok := pool.(*sql.Conn); ok {
		return errors.New("gormstore: the database is one connection (*sql.Conn); a store needs its connection pool")
	}
	if _, ok := db.Plugins[resolverName]; ok && !same(pool, unprepared(db.Config.ConnPool)) {
		return errors.New("gormstore: a clause of dbresolver (Read, Write or Use) has chosen another pool than the one of gorm.Open, perhaps a replica's; give the *gorm.DB without the clause, or one that gorm.Open opened for the database of the tokens")
	}
	return nil
}

// unprepared returns the pool that gorm.Config.PrepareStmt wraps.
func unprepared(pool gorm.ConnPool) gorm.ConnPool {
	if p, ok := pool.(*gorm.PreparedStmtDB); ok {
		return p.ConnPool
	}
	return pool
}

// same reports whether two pools are one. Those that cannot be compared, because a
// host wrapped them in something of its own, are not suspected.
func same(a, b gorm.ConnPool) bool {
	if !reflect.ValueOf(a).Comparable() || !reflect.ValueOf(b).Comparable() {
		return true
	}
	return a == b
}
