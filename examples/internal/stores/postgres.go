package stores

import (
	"net/url"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// Postgres returns the database with a postgres:// URL.
func Postgres(storeURL string) (gorm.Dialector, error) {
	if err := needsURL(storeURL); err != nil {
		return nil, err
	}
	return postgres.Open(postgresDSN(storeURL)), nil
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
