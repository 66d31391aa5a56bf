package tokenauth

import (
	"context"
	"net/netip"
)

// Credentials are what a sign-in brings.
type Credentials struct {
	// UserName is as sent: nothing is trimmed or folded. Over HTTP it has 1
	// to 256 bytes of UTF-8 without control characters.
	UserName string
	// Password is as sent. Over HTTP it is UTF-8 without NUL. One of more
	// than MaxPasswordLength bytes is rejected whatever the Authenticator
	// says, but only after it did its work, so that the answer takes as long.
	Password Secret
	// ClientID is the application; "" without registered clients.
	ClientID string
	// ClientSecret is what a registered client proves itself by; empty for a
	// public one.
	ClientSecret Secret
	// RemoteAddr is the client's address: the peer's, or what a trusted
	// proxy says (Options.TrustedProxies). The zero Addr if unknown.
	RemoteAddr netip.Addr

	client *Client // if it has been authenticated
}

// MaxPasswordLength is how many bytes of a password are accepted.
const MaxPasswordLength = 1024

// An Authenticator tells who the credentials belong to. password.Users is one
// for password hashes in a table; others may ask a directory server.
type Authenticator interface {
	// Authenticate returns the principal that the credentials belong to.
	//
	//   - It returns ErrRejected, possibly wrapped, for an unknown user, a
	//     wrong password and an account that may not sign in alike, and takes
	//     the same time for all of them.
	//   - Any other error means that it could not tell; it becomes a 503.
	//   - The context is the request's. Hashing may wait its turn, so there is
	//     no deadline in it: an Authenticator bounds its own look-ups.
	//   - It must not keep or log the password.
	Authenticate(ctx context.Context, c Credentials) (Principal, error)
}

// A Rechecker is an Authenticator that can look at a user again without the
// password. The Service asks it after a new token has been stored and before
// anybody gets it: a user that was disabled, deleted or changed since the
// password was checked is then still refused. Together with a host that
// revokes the user's tokens after each change, no order of events leaves a
// token alive that should be dead.
type Rechecker interface {
	// Recheck returns nil if the user exists, may sign in, and still has
	// p.Stamp; ErrRejected, possibly wrapped, if not, which also is ErrNotFound
	// if it looks by another key than Authenticate does and finds nobody there;
	// any other error if it could not tell, which becomes a 503. It must see
	// every change that was complete when it was called.
	Recheck(ctx context.Context, p Principal) error
}

// recheck is the one place that probes for the ability.
func recheck(ctx context.Context, a Authenticator, p Principal) error {
	if r, ok := a.(Rechecker); ok {
		return r.Recheck(ctx, p)
	}
	return nil
}
