package gormstore

import "github.com/bearerkit/bearerkit/tokenauth/password"

// Options configures a [Store]. Nil or the zero value selects the defaults.
type Options struct {
	// TablePrefix is the beginning of each table's name; empty means
	// "tokenauth_". Any other prefix must have 1 to 32 lower-case letters, digits
	// and '_', and begin with a letter.
	//
	// Each service in a database needs its own prefix. Services that use the same
	// tables share their users and accept each other's tokens;
	// [tokenauth.Service.Run] then logs a warning. Choose the prefix before the
	// first sign-in: a new prefix means new, empty tables.
	TablePrefix string
	// Feed makes [Migrate] install the trigger that [WithFeed] needs, for
	// [tokenauth.Options.Cache]. Only PostgreSQL supports the trigger. If Feed is
	// false, Migrate neither installs nor removes it.
	Feed bool
	// SpacesInNames lets [Users.Create], [Users.Import] and [Users.Rename] accept names
	// with spaces between their parts, such as "Anna Maria" (RFC 8265 §3.1). Several
	// spaces count as one when names are compared. If SpacesInNames is false, a new name
	// with a space is [ErrInvalid]. Users who already have such a name still sign in.
	SpacesInNames bool
	// Passwords configures [Users]; nil selects the defaults. If
	// [password.Options.Upgrade] is nil, Users upgrades the hashes in its table.
	// [password.Options.Check] gets the user's ID, name, roles and attributes in the
	// account, whose Row is nil.
	Passwords *password.Options
}
