package redisstore_test

import (
	"testing"

	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/storage/storagetest/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func TestStorage(t *testing.T) {
	t.Parallel()
	o := option(t, throwaway.Redis(t))
	client := open(t, o)
	t.Run("store", func(t *testing.T) {
		storagetest.Run(t, func(t *testing.T) tokenauth.Storage { return newStore(t, client, newPrefix(t, client)) })
	})
	t.Run("watched", func(t *testing.T) {
		storagetest.Run(t, func(t *testing.T) tokenauth.Storage { return watched(t, o, newPrefix(t, client)) })
	})
}
