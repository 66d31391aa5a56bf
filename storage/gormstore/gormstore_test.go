package gormstore_test

import (
	"testing"

	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func TestStorage(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		storagetest.Run(t, func(t *testing.T) tokenauth.Storage {
			s, _ := e.store(t)
			return s
		})
	})
}
