// Package tokenauth gives an existing web application, the host, a Token API:
// clients trade a user name and a password for an access token at /Token
// (RFC 6749 §4.3), and send it as a bearer token (RFC 6750) from then on.
//
// The wire contract is the one that ASP.NET Web API made common, so the
// clients that people already have keep working.
//
// # The nouns
//
// A user (the resource owner) signs in through a client (the application).
// One user at one client is a [Slot], and a slot holds one token: each sign-in
// overwrites what the slot held, in one atomic step, and so the token before
// stops working. The access token is the string that the client keeps; a
// [Token] is what the [Storage] keeps of it, a [Digest] and never the string
// itself. A token stands for a [Principal].
//
// # Putting it together
//
// [New] needs a [Storage] and an [Authenticator]; both are small interfaces.
// Ready ones are in the packages under storage/ and in tokenauth/password.
// [Service.TokenHandler] answers /Token; [Service.RequireBearer] and
// [Service.RequireRole] protect what is behind them; [FromContext] tells a
// handler who is calling. The package ginadapter does the same for Gin.
//
// # Errors
//
// A refusal is an error that is [ErrRejected] (sign-in) or [ErrInvalidToken]
// (validation, refined by [ErrExpiredToken] and [ErrReplacedToken]). Anything
// that kept the service from deciding is [ErrUnavailable] and becomes a 503:
// trouble with the storage signs nobody in and nobody out.
//
// # Time
//
// A token is good in [issued, expires). Times are whole seconds in UTC. Within
// one process the clock never runs backwards, so a token that has expired stays
// expired. Whether one was issued in the future is not looked at: replicas whose
// clocks differ are no reason to refuse what one of them issued a moment ago.
//
// # Endpoints
//
// [Service.Mount] mounts the token endpoint. [Service.MountEndpoints] also mounts
// what a host asks for beside it: revocation (RFC 7009), introspection (RFC 7662)
// and metadata (RFC 8414). The package openapi describes what was mounted.
//
// # What is logged, and what to watch
//
// What happens is an [Event]. Options.Logger has those that a security log needs;
// Options.Observers, such as those of the packages prommetrics and oteltrace,
// are told of all.
//
//	event            reason             level  what to do about it
//	issued           -                  info   look here for whose an "account" field is: these have the user, too
//	sign_in_refused  credentials        warn   alert on a rate far above the usual: somebody tries passwords
//	                 throttled          warn   the same, held up already; one account is one "account" field
//	                 client             warn   a client has a secret that is old, or somebody tries some
//	                 malformed          debug  -
//	validated        -                  -      -
//	                 fallback           -      when there are none any more, remove Options.Fallback
//	refused          replaced           warn   alert if it goes on: two processes share an account (user_id,
//	                                           client_id) and keep replacing each other's token
//	                 role, client       warn   a user or a client tries what it may not
//	                 expired, invalid,
//	                 no_credentials,
//	                 malformed          debug  alert on a rate of invalid far above the usual
//	introspected     -, or why not      debug  -
//	revoked          -, user, client    info   -
//	unavailable      -                  error  alert: the storage or the users cannot be asked
//	                 internal           error  alert: the host's code panicked, or made a principal that is wrong
//	                 busy               -      alert: more sign-ins than Options of the package password let hash
//	                 canceled           -      if there are many, the clients do not wait as long as it takes
//
// A record has the fields event, reason, user_id, user_name, client_id,
// remote_addr, token (16 digits of its digest), account (a keyed hash of the
// name that was typed), error, needs_one_of and has_roles (of a refusal for the
// role) and suppressed, as far as they are known. Of one event and reason 100 are
// written at once and 10 a second from then on, and suppressed says how many were
// not. Also logged, at error, are panics of the host's code and stored tokens
// that are corrupt, no more of them than of events; a purge that failed, counters
// that could not be reached, a refused token that could not be removed, a feed
// that is lost (at info, one that is back), a second Run beside the first, and an
// account that is not found by its own name. At warn, once: a cache without a
// Run, and a sign-in by way of a proxy that Options.TrustedProxies does not name.
//
// # Compatibility
//
// What is stored can be read by every later version, and so can the access
// tokens that are out; before version 1 the Go API may change with a minor
// version, and the changelog says how. A new migration of a schema is applied
// before the new version starts, and the old version goes on with it.
//
// # Concurrency
//
// A [Service] is safe for concurrent use. It starts no goroutine; what has to
// be done in the background is done by [Service.Run] while the host runs it.
package tokenauth
