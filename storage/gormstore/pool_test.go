package gormstore_test

import (
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/plugin/dbresolver"

	"github.com/bearerkit/bearerkit/storage/gormstore"
)

// The host sends its reads to a replica. Here the replica is empty, so a read there would
// find nothing.
func TestReadsGoToThePrimary(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		empty := []gorm.Dialector{e.dialector(t)}
		for name, config := range map[string]dbresolver.Config{
			"replicas":             {Replicas: empty},
			"sources and replicas": {Sources: []gorm.Dialector{e.dialector(t)}, Replicas: empty},
		} {
			t.Run(name, func(t *testing.T) {
				db := e.open(t, &gorm.Config{PrepareStmt: len(config.Sources) > 0})
				if err := db.Use(dbresolver.Register(config).Register(config, "tokenauth_users")); err != nil {
					t.Fatal(err)
				}
				exercise(t, newStore(t, db, nil))
			})
		}
		t.Run("after New", func(t *testing.T) {
			db := e.open(t, nil)
			s := newStore(t, db, nil)
			if err := db.Use(dbresolver.Register(dbresolver.Config{Replicas: empty})); err != nil {
				t.Fatal(err)
			}
			exercise(t, s)
		})
	})
}

// New refuses a *gorm.DB that leads to a replica or to a single connection.
func TestNewRefusesOtherPools(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		db := e.open(t, nil)
		replicas := dbresolver.Config{Replicas: []gorm.Dialector{e.dialector(t)}}
		if err := db.Use(dbresolver.Register(replicas).Register(replicas, "elsewhere")); err != nil {
			t.Fatal(err)
		}
		if err := gormstore.Migrate(t.Context(), db, nil); err != nil {
			t.Fatal(err)
		}
		fromNew := func(db *gorm.DB) error { _, err := gormstore.New(t.Context(), db, nil); return err }
		for name, c := range map[string]clause.Expression{"Read": dbresolver.Read, "Use": dbresolver.Use("elsewhere")} {
			for _, pinned := range []*gorm.DB{db.Clauses(c), db.Clauses(c).Session(&gorm.Session{}), db.Clauses(c).WithContext(t.Context())} {
				expectRefused(t, pinned, nil, nil, "dbresolver", "gorm.Open", name)
			}
		}
		if err := fromNew(db.Clauses(dbresolver.Write)); err != nil {
			t.Errorf("the clause Write, which chooses the pool of gorm.Open: %v", err)
		}
		err := db.Connection(fromNew)
		if err == nil || !strings.Contains(err.Error(), "one connection") {
			t.Errorf("a connection: %v", err)
		}
	})
}
