package main

import (
	"context"
	"net/url"

	"gorm.io/driver/postgres"

	"github.com/bearerkit/bearerkit/examples/quickstart/service"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
)

func openPostgres(ctx context.Context, storeURL string, feed bool) (*service.Store, error) {
	if err := needsURL(storeURL); err != nil {
		return nil, err
	}
	s, err := service.OpenGORM(ctx, postgres.Open(postgresDSN(storeURL)), &gormstore.Options{Feed: feed})
	if err != nil || !feed {
		return s, err
	}
	tokens, err := gormstore.WithFeed(ctx, s.Tokens.(*gormstore.Store), pgxfeed.Listener{})
	if err != nil {
		s.Close()
		return nil, err
	}
	s.Tokens = tokens
	return s, nil
}

// postgresDSN adds a timeout for opening a connection, unless the URL has one.
// Without a timeout, one connection that hangs would delay all others.
func postgresDSN(storeURL string) string {
	u, err := url.Parse(storeURL)
	if err != nil {
		return storeURL // the driver returns an error without the password
	}
	if query := u.Query(); !query.Has("connect_timeout") {
		query.Set("connect_timeout", "2")
		u.RawQuery = query.Encode()
	}
	return u.String()
}
