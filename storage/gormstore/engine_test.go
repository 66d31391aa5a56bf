package gormstore_test

import (
	"testing"

	"gorm.io/driver/mysql"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// A view has no storage engine. A view of all rows of a table works like the table.
func TestTablesMayBeViews(t *testing.T) {
	t.Parallel()
	db := openDialector(t, mysql.Open(throwaway.MariaDB(t)), nil)
	newStore(t, db, nil)
	for _, statement := range []string{
		"RENAME TABLE tokenauth_users TO people, tokenauth_tokens TO keyring",
		"CREATE VIEW tokenauth_users AS SELECT * FROM people",
		"CREATE VIEW tokenauth_tokens AS SELECT * FROM keyring",
	} {
		if err := db.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
	exercise(t, newStore(t, db, nil))
}
