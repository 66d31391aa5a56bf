package tokenauth

import (
	"context"
	"net/netip"
	"time"
)

// Credentials are the user name and password of a sign-in, and information
// about the client that sent them. [Service.SignIn] passes them to the
// [Authenticator].
type Credentials struct {
	// UserName is the name exactly as sent, with its case and spaces: 1 to 256
	// bytes of UTF-8 without control characters. The Service rejects any other
	// name without asking the Authenticator.
	UserName string
	// Password is the password as sent. Over HTTP it is UTF-8 without NUL. The
	// Service rejects a password of more than 1024 bytes, even if the
	// Authenticator accepts it. It does so only after Authenticate has
	// returned, so that the response takes as long as for any other password.
	Password Secret
	// RefreshToken is the refresh token for [Service.Refresh], which looks at no
	// other credentials of the user.
	RefreshToken Secret
	// ClientID is the ID of the registered client. Without [Options.Clients],
	// the token endpoint accepts and ignores any client_id, and ClientID is "".
	// A host that calls [Service.SignIn] itself may then use any ID of at most
	// 256 bytes. Each ID has a [Slot] of its own, so a token for another ID does
	// not replace the token from the token endpoint.
	ClientID string
	// ClientSecret is the secret of a registered client; empty for a public
	// client.
	ClientSecret Secret
	// Device is the ID of the device from which the user signs in: 1 to 64
	// bytes of printable ASCII, or "" for the slot without a device. It needs
	// [Options.Devices]. A client chooses an ID once, at random for example, and
	// keeps it.
	Device string
	// DeviceName is a name of the device for people, such as "Ann's phone": at
	// most 100 bytes of UTF-8 without control characters. Empty means that the
	// device keeps the name from its last sign-in. It needs [Options.Devices].
	DeviceName string
	// Lifetime is how long the new token is valid, in whole seconds. Zero means
	// [Client.Lifetime] or [Options.Lifetime]. The host's code sets it, for
	// example if the user asked to stay signed in; no parameter of a token
	// request does. The range is 1 minute to 365 days, or to
	// [Options.MaxLifetime] if that is set. It is not kept for the tokens of later
	// refreshes ([Options.Refresh]).
	Lifetime time.Duration
	// Parameters are the further parameters of the token request that
	// [Options.Parameters] lists, by their names as listed there. A parameter
	// that was left out or is empty is not in the map. Read a one-time code with
	// [Credentials.Code] instead, which limits how often a code can be guessed.
	Parameters map[string]Secret
	// RemoteAddr is the IP address of the client: the peer's address, or the
	// address that a trusted proxy names ([Options.TrustedProxies]). It is the
	// zero Addr if the address is unknown, for example over a Unix socket that
	// is not in [Options.TrustedSockets].
	RemoteAddr netip.Addr
	// CrossSite reports whether a browser marked the request as coming from
	// another site. Failures of such requests are counted separately from other
	// failures from the same address.
	CrossSite bool

	attempt *attempt // nil outside of a sign-in
}

// hasParameters reports whether the request has a further parameter.
func (c *Credentials) hasParameters() bool {
	for _, value := range c.Parameters {
		if value.Reveal() != "" {
			return true
		}
	}
	return false
}

// An Authenticator authenticates a user by the user name and the password.
// Package [github.com/bearerkit/bearerkit/tokenauth/password] has an
// Authenticator for a user table with password hashes. A host may implement its
// own, for example for a directory server. An Authenticator must be safe for
// concurrent use.
//
// An Authenticator may also be a [Rechecker] and a [RevocationQueue]. A type
// that wraps an Authenticator must pass these abilities on. Embedding the
// Authenticator interface is not enough, because that promotes only the
// Authenticate method. [New] logs a warning about a type that does so.
type Authenticator interface {
	// Authenticate returns the principal of the user that the credentials
	// belong to.
	//
	//   - It returns [ErrRejected], possibly wrapped, for an unknown user, a
	//     wrong password and an account that may not sign in. It takes the same
	//     time for all three.
	//   - Any other error becomes a 503 response.
	//   - The context has the values and the deadline of the request's context.
	//     But it does not end when the client disconnects, because a database
	//     driver would then close its connection. Set a timeout for your own
	//     look-ups, because [Options.Timeout] does not apply here.
	//   - It calls [Credentials.CountAttempt] after the account look-up, so
	//     that failures count against the account. Without the call they count
	//     against the user name.
	//   - It may check more than the password, such as a one-time code. It then
	//     first calls [Credentials.PasswordMatched], unless a
	//     [github.com/bearerkit/bearerkit/tokenauth/password.Authenticator]
	//     accepted the password, and reads the code with [Credentials.Code],
	//     which limits the guesses at it. It may return a [Rejection], to tell
	//     the client what is missing.
	//   - It never keeps or logs the password.
	Authenticate(ctx context.Context, c Credentials) (Principal, error)
}

// A Rechecker is an [Authenticator] that can check a user again without the
// password. [Service.SignIn] calls Recheck after it stored the new token, and
// before it returns the access token. It then rejects a user who was disabled,
// deleted or changed since the password check.
//
// The host should also revoke the user's tokens after each such change. Then
// the change ends every token that it should end, even if the user is signing
// in at the same time.
type Rechecker interface {
	// Recheck returns nil if the user exists, may sign in, and still has
	// p.Stamp. It must see every change that was committed before the call.
	//
	//   - Otherwise it returns [ErrRejected], possibly wrapped. Recheck may
	//     look the user up by a different key than Authenticate does. If no
	//     user has that key, the error also wraps [ErrNotFound], and the
	//     Service logs the mismatch.
	//   - Any other error becomes a 503 response.
	//   - It returns soon after its context ends.
	Recheck(ctx context.Context, p Principal) error
}

// A Reloader is an [Authenticator] that can return a user's current principal without
// the password. [Options.Refresh] needs one: [Service.Refresh] looks the user up again,
// so that the new token has the user's current roles. [Options.Keys] needs one, too,
// because an API key has no more roles than its owner has now.
type Reloader interface {
	// Reload returns the current principal of the user with p.UserID. It returns the
	// errors of [Rechecker.Recheck]: [ErrRejected] also if the user changed since p, so
	// that the sign-in must end. A change of the roles or attributes alone need not end
	// it, because the returned principal has the new ones.
	//
	// For the owner of an API key, p has only a UserID and the UserName at the time when
	// the key was made, and its Roles are nil, which those of a sign-in never are. Then
	// there is nothing to compare: Reload returns the current principal, with its Stamp,
	// of a user who may sign in. For a user who has not changed, it returns the same
	// principal each time, because the Service compares two of them.
	Reload(ctx context.Context, p Principal) (Principal, error)
}

// A liveChecker is an [Authenticator] whose LiveCheck method has the signature
// of [Options.LiveCheck]. See [RevocationQueue].
type liveChecker interface {
	LiveCheck(context.Context, Token) error
}

// recheck calls [Rechecker.Recheck] if a is a [Rechecker], and otherwise
// returns nil. It is the only caller of that method.
func recheck(ctx context.Context, a Authenticator, p Principal) error {
	if r, ok := a.(Rechecker); ok {
		return r.Recheck(ctx, p)
	}
	return nil
}

// canRecheck reports whether a is a [Rechecker].
func canRecheck(a Authenticator) bool {
	_, ok := a.(Rechecker)
	return ok
}
