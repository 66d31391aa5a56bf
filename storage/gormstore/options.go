package gormstore

import "github.com/bearerkit/bearerkit/tokenauth/password"

// Options configures a Store. Nil or the zero value selects the defaults.
type Options struct {
	// TablePrefix begins the names of the tables; empty means "tokenauth_". It
	// has 1 to 32 lower-case letters, digits and '_', and begins with a letter.
	//
	// Each service in a database needs its own: with the same tables, services have
	// the same users and accept each other's tokens. tokenauth.Service.Run logs that.
	// Set it before the first sign-in: another prefix means other, empty tables.
	TablePrefix string
	// Feed makes Migrate install the trigger that WithFeed, and so the cache,
	// needs; on PostgreSQL only. Zero means that Migrate leaves the trigger as
	// it is.
	Feed bool
	// Passwords configures Users; nil selects the defaults. Without an Upgrade,
	// Users upgrades its own table.
	Passwords *password.Options
}
