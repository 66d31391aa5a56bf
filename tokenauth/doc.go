// Package tokenauth gives an existing web application, the host, a Token API.
// Clients exchange a user name and a password for an access token at /Token (RFC
// 6749 §4.3), and then send it as a bearer token (RFC 6750).
//
// The HTTP contract is the one that ASP.NET Web API made common, so clients
// written for it keep working.
//
// # The nouns
//
// A user (the resource owner) signs in through a client (the application). One
// user at one client is a [Slot], and a slot holds one token: each sign-in
// overwrites the slot in one atomic step, so the previous token stops working. The
// access token is the string that the client keeps. A [Token] is what the
// [Storage] keeps of it: a [Digest], never the string. A token stands for a
// [Principal].
//
// # Putting it together
//
// [New] needs a [Storage] and an [Authenticator]; both are small interfaces. Ready
// ones are in the packages under storage/ and in tokenauth/password.
// [Service.Mount] mounts /Token. [Service.RequireBearer] and [Service.RequireRole]
// protect the handlers behind them, which find the caller by [FromContext]. The
// package ginadapter does the same for Gin.
//
// # Errors
//
// A refused sign-in is [ErrRejected]; a refused token is [ErrInvalidToken],
// refined by [ErrExpiredToken] and [ErrReplacedToken]. If the storage or the
// host's code fails, the error is [ErrUnavailable] and the answer 503: a failure
// signs nobody in and nobody out.
//
// # Time
//
// A token is valid in [issued, expires). Times are whole seconds in UTC. Within one
// process the clock never runs backwards, so an expired token stays expired. The
// Service does not reject a token that was issued in the future: another replica,
// whose clock is ahead, may have issued it a moment ago.
//
// Keep the replicas' clocks together, by NTP. A replica whose clock is wrong issues
// tokens that expire too early or too late, and judges others by its own time.
// Nothing guards against that but an error in its log: see [Service.Run].
//
// # Endpoints
//
// [Service.Mount] mounts the token endpoint, and those of [Endpoints] that the host
// asks for: revocation (RFC 7009), introspection (RFC 7662) and metadata (RFC
// 8414). The package openapi describes what was mounted.
//
// A middleware in front of them should leave the body of a request alone. Where
// one has called ParseForm, as Gin's PostForm and ShouldBind do, the endpoints
// take Request.PostForm, under the same rules. But ParseForm drops parameters with
// a semicolon or a malformed escape, and so a password that has one. Where the
// body was read in another way, and not put back, the answer is 400. The Service
// logs a warning, unless the request has no Content-Length and may have had no body.
//
// # What is logged, and what to watch
//
// The Service reports an [Event] for everything it does. Options.Logger receives
// those that a security log needs. Options.Observers, such as those of the
// packages prommetrics and oteltrace, receive all.
//
//	event            reason             level  what to do about it
//	issued           -                  info   match "account" here to find a refused sign-in's user
//	sign_in_refused  credentials        warn   alert on a rate far above the usual: somebody guesses passwords
//	                 throttled          warn   the same, already throttled; one "account" is one user name
//	                 client             warn   a client has an old secret, or somebody guesses secrets
//	                 malformed          debug  -
//	validated        -                  -      -
//	                 fallback           -      when there are none any more, remove Options.Fallback
//	refused          replaced           warn   alert if it continues: two processes share an account (user_id,
//	                                           client_id) and keep replacing each other's token
//	                 role, client       warn   a user or a client requests what it may not have
//	                 expired, invalid,
//	                 no_credentials,
//	                 malformed          debug  alert on a rate of invalid far above the usual
//	introspected     -, or why not      debug  -
//	revoked          -, user, client    info   - (without a reason: of a token that was stored)
//	unavailable      -                  error  alert: a look-up in the storage or of a user fails
//	                 internal           error  alert: the host's code panicked, or made an invalid principal
//	                 busy               -      alert: more sign-ins than password.Options lets hash
//	                 canceled           -      if there are many, clients give up too early
//
// A record has the fields event, reason, user_id, user_name, client_id,
// remote_addr, token (16 digits of its digest), account (a keyed hash of the name
// that was typed), error, needs_one_of and has_roles (of a refusal for the role)
// and suppressed, as far as they are known.
//
// The log is bounded. A source is an address (of IPv6 its /48), a user and a
// client, as far as they are known. Of one event and reason, a source gets 100
// records at once and then 10 a second; all together get 1000 and then 100 a
// second. Half of that is a reserve, of which each source gets one record a minute:
// so up to 2000 sources at a time do not suppress the records of others for longer
// than a minute. The field suppressed counts the records that are missing since the
// last one of the same event and reason.
//
// The Service also logs, at error: a panic of the host's code and a stored token
// that is corrupt (with the same bound), a failed purge, a failure of the storage
// that counts attempts (once a minute), a refused token that could not be removed,
// a feed that is lost (at info, one that is back), a second Run beside the first, a
// clock that differs from the storage's, an account that Lookup does not find by its
// own name, and, once for an outage, a changed user or client whose tokens could not
// be ended (at info, when that works again), or a failed search for other services
// in the storage. At warn, with the same bound: a body that the host's own code read
// and kept. At warn, once: another service in the storage; a Run that was not called,
// if a cache or a RevocationQueue waits for it, or nothing purged for PurgeInterval; a
// proxy whose word on a client's address is not used, with the option that changes
// that; a client ID with a colon; and, in New, a wrapper that hides an optional
// ability of what it wraps.
//
// # Compatibility
//
// Every later version reads what is stored, and accepts the access tokens that
// clients hold. Before version 1 the Go API may change with a minor version; the
// changelog says how. Apply a new migration before the new version starts: the old
// version keeps working with it.
//
// # Concurrency
//
// A [Service] is safe for concurrent use. Its goroutines end with the statements that
// requests share ([BatchFinder]). The host runs [Service.Run], which does the
// background work.
package tokenauth
