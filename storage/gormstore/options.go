package gormstore

import "github.com/bearerkit/bearerkit/tokenauth/password"

// Options configures a [Store]. Nil or the zero value selects the defaults.
type Options struct {
	// TablePrefix begins the names of the tables; empty means "tokenauth_". It
	// has 1 to 32 lower-case letters, digits and '_', and begins with a letter.
	//
	// Each service in a database needs its own prefix. Services with the same
	// tables have the same users and accept each other's tokens;
	// [tokenauth.Service.Run] logs a warning. Set the prefix before the first
	// sign-in: a new prefix selects other tables, which are empty.
	TablePrefix string
	// Feed makes [Migrate] install the trigger that [WithFeed] needs, and so the
	// cache. It is valid on PostgreSQL only. False means that Migrate leaves the
	// trigger as it is.
	Feed bool
	// Passwords configures [Users]; nil selects the defaults. If
	// [password.Options.Upgrade] is nil, Users upgrades the hashes in its table.
	Passwords *password.Options
}
