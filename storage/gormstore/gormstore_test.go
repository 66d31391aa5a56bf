package gormstore_test

import (
	"testing"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func TestStorage(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		storagetest.Run(t, e.prefixes(t, func(t *testing.T, db *gorm.DB, prefix string) tokenauth.Storage {
			return newStore(t, db, &gormstore.Options{TablePrefix: prefix})
		}))
	})
}
