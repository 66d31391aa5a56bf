package stores

import (
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Redis opens the server or cluster with a redis://, rediss:// or unix:// URL. If
// feed is true, the store reports token changes. The func closes the store.
func Redis(storeURL string, feed bool) (tokenauth.Storage, func(), error) {
	option, err := rueidis.ParseURL(storeURL)
	if err != nil {
		return nil, nil, invalidURL("redis")
	}
	option.DisableCache = true            // the store does not use the client's cache
	option.ConnWriteTimeout = time.Second // requests on a lost connection fail after a second instead of ten
	client, err := rueidis.NewClient(option)
	if err != nil {
		return nil, nil, err
	}
	tokens, err := openTokens(client, option, feed)
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	return tokens, client.Close, nil
}

func openTokens(client rueidis.Client, option rueidis.ClientOption, feed bool) (tokenauth.Storage, error) {
	s, err := redisstore.New(client, nil)
	if err != nil || !feed {
		return s, err
	}
	return redisstore.WithFeed(s, option)
}
