package tokenauth

import (
	"context"
	"net/netip"
)

// Credentials are what a user signs in with.
type Credentials struct {
	// UserName is as sent: nothing is trimmed or folded. Over HTTP it has 1
	// to 256 bytes of UTF-8 without control characters.
	UserName string
	// Password is as sent. Over HTTP it is UTF-8 without NUL. One of more than
	// 1024 bytes is rejected, whatever the Authenticator says, but only after the
	// Authenticator did its work, so that the answer takes as long.
	Password Secret
	// ClientID is the application; "" without registered clients.
	ClientID string
	// ClientSecret is the secret of a registered client; empty for a public one.
	ClientSecret Secret
	// RemoteAddr is the client's address: the peer's, or what a trusted proxy
	// says (Options.TrustedProxies). The zero Addr if unknown, as over a Unix socket
	// that Options.TrustedSockets does not name.
	RemoteAddr netip.Addr
	// CrossSite says that a browser marked the request as coming from another
	// site. Its failures count apart from those of others at the same address.
	CrossSite bool

	attempt *attempt // nil outside of a sign-in
}

// An Authenticator finds the user of credentials. password.Authenticator does it
// for password hashes in a table; others may ask a directory server. It may also
// be a Rechecker and a RevocationQueue. A type that wraps one passes these abilities
// on: one that embeds the interface has Authenticate alone. New warns of that.
type Authenticator interface {
	// Authenticate returns the principal of the credentials.
	//
	//   - It returns ErrRejected, possibly wrapped, for an unknown user, a wrong
	//     password and an account that may not sign in, and takes the same time
	//     for all of them.
	//   - Any other error becomes a 503.
	//   - The context has the values and the deadline of the request's, but does
	//     not end when the client leaves: a driver would close its connection for
	//     that. An Authenticator bounds its own look-ups.
	//   - It calls c.CountAttempt once it has looked for the account, so that
	//     failures count for the account. Otherwise they count for the user name.
	//   - If it checks more than the name and the password, such as a one-time code
	//     from the context, after password.Authenticator or a type that uses it has
	//     accepted the password, each failure counts. Any other limits guesses of that
	//     itself: to try again with the same password does not count
	//     (ThrottleOptions).
	//   - It never keeps or logs the password.
	Authenticate(ctx context.Context, c Credentials) (Principal, error)
}

// A Rechecker is an Authenticator that can check a user again without the
// password. SignIn calls it after the new token is stored and before anybody has
// it: a user who was disabled, deleted or changed since the password was checked
// is then rejected. If the host also revokes a user's tokens after each change,
// then no order of events leaves a token alive that must be dead.
type Rechecker interface {
	// Recheck returns nil if the user exists, may sign in, and still has
	// p.Stamp. It sees every change that was complete when it was called.
	//
	//   - It returns ErrRejected, possibly wrapped, if not. The error is also
	//     ErrNotFound if Recheck finds nobody because it looks by another key
	//     than Authenticate.
	//   - Any other error becomes a 503.
	//   - It returns soon after its context ends.
	Recheck(ctx context.Context, p Principal) error
}

// A liveChecker is an Authenticator with a method of the form of Options.LiveCheck
// (see RevocationQueue).
type liveChecker interface {
	LiveCheck(context.Context, Principal) error
}

// recheck is the one place that looks for a Rechecker.
func recheck(ctx context.Context, a Authenticator, p Principal) error {
	if r, ok := a.(Rechecker); ok {
		return r.Recheck(ctx, p)
	}
	return nil
}

// canRecheck reports whether recheck asks a.
func canRecheck(a Authenticator) bool {
	_, ok := a.(Rechecker)
	return ok
}
