// Package tokenauth adds a Token API to an existing web service. A client sends
// a user name and a password to /Token and receives an access token (RFC 6749
// §4.3). It then sends the token with each request as a bearer token (RFC
// 6750).
//
// The service that uses the package is called the host. The HTTP contract is
// the one that ASP.NET Web API made common, so clients written for it keep
// working.
//
// # Getting started
//
// [New] takes a [Storage] for the tokens and an [Authenticator] for the users.
// Here both come from the package storage/gormstore:
//
//	auth, err := tokenauth.New(store, store.Users(), nil)
//	if err != nil {
//		return err
//	}
//	go auth.Run(ctx) // background work, until ctx ends
//
//	mux := http.NewServeMux()
//	auth.Mount(mux) // the token endpoint: /Token and /token
//	mux.Handle("/me", auth.RequireBearer(http.HandlerFunc(
//		func(w http.ResponseWriter, r *http.Request) {
//			token, _ := tokenauth.FromContext(r.Context())
//			fmt.Fprintln(w, token.Principal.UserName)
//		})))
//
// [Service.Mount] mounts the endpoints. [Service.RequireBearer] and
// [Service.RequireRole] protect handlers, which get the caller's token from
// [FromContext]. The package ginadapter does the same for Gin.
//
// [Options] configures the lifetime of tokens, the cache, throttling, logging
// and more. [Service.RevokeUser] ends a user's tokens, for example after a
// change of the password.
//
// The packages below storage/ implement [Storage]. The package
// tokenauth/password implements [Authenticator] for a table of users with
// password hashes. A host can implement both interfaces itself.
//
// # Users, clients, slots and tokens
//
// A user (the resource owner) signs in through a client (the application). The
// place for the token of one user at one client is a [Slot]. It holds at most
// one token. Each sign-in overwrites the slot in one atomic step, so the
// previous token becomes invalid.
//
// The access token is the string that the client keeps. A [Token] is the record
// that the [Storage] keeps: the [Digest] of the access token, never the access
// token itself, and the [Principal] that the token stands for.
//
// # Errors
//
// A rejected sign-in returns [ErrRejected]. An invalid token returns
// [ErrInvalidToken], refined by [ErrExpiredToken] and [ErrReplacedToken]. If
// the storage or the host's code fails, the error is [ErrUnavailable] and the
// HTTP status is 503. Such a failure never lets a user in, and never makes a
// token invalid.
//
// # Time
//
// A token is valid in [issued, expires). Both times are whole seconds in UTC.
// Within one process the clock never runs backwards, so an expired token stays
// expired. The Service accepts a token that was issued in the future: another
// replica, whose clock is ahead, may have issued it a moment ago.
//
// Synchronize the clocks of all replicas, for example by NTP. A replica whose
// clock is wrong issues tokens that expire too early or too late, and checks
// the tokens of other replicas by its own time. The Service does not correct
// this; it only logs an error ([Service.Run]).
//
// # Endpoints
//
// [Service.Mount] mounts the token endpoint, and the endpoints that [Endpoints]
// names: revocation (RFC 7009), introspection (RFC 7662) and metadata (RFC
// 8414). The package openapi describes the mounted endpoints.
//
// Middleware in front of the endpoints should not read the request body. If it
// called [http.Request.ParseForm], as Gin's PostForm and ShouldBind do, the
// endpoints use [http.Request.PostForm] under the same rules. But ParseForm
// drops parameters with a semicolon or a malformed escape, even a password.
//
// If middleware read the body in another way and did not restore it, the answer
// is 400. The Service then logs a warning. It does not if the request has no
// Content-Length, since that body may have been empty.
//
// # Logging and alerts
//
// The Service reports an [Event] for each action. [Options.Logger] receives the
// events that a security log needs. [Options.Observers], such as those of the
// packages prommetrics and oteltrace, receive all events.
//
//	event            reason             level  what to do about it
//	issued           -                  info   match "account" here to find a refused sign-in's user
//	sign_in_refused  credentials        warn   alert on a rate far above the usual: someone guesses passwords
//	                 throttled          warn   as above, but already throttled; each "account" is one user name
//	                 client             warn   a client has an old secret, or someone guesses secrets
//	                 malformed          debug  -
//	validated        -                  -      -
//	                 fallback           -      once there are no more of these, remove Options.Fallback
//	refused          replaced           warn   alert if it continues: two processes share an account (user_id,
//	                                           client_id) and keep replacing each other's token
//	                 role, client       warn   a user or a client requests something that it may not have
//	                 expired, invalid,
//	                 no_credentials,
//	                 malformed          debug  alert on a rate of invalid far above the usual
//	introspected     -, or a reason     debug  - (the reason says why the token is not active)
//	revoked          -, user, client    info   - (without a reason: one token, which was stored)
//	unavailable      -                  error  alert: a look-up in the storage or of a user fails
//	                 internal           error  alert: the host's code panicked, or made an invalid principal
//	                 busy               -      alert: more sign-ins at once than password.Options allows
//	                 canceled           -      if there are many, clients give up too early
//
// A record has these attributes, as far as they are known:
//
//   - event and reason, as in the table;
//   - user_id, user_name, client_id and remote_addr;
//   - token: the first 16 digits of its digest;
//   - account: a keyed hash of the user name that was typed;
//   - error: the cause of an unavailable event;
//   - needs_one_of and has_roles: if a role is missing, the roles that the
//     route needs and those that the user has;
//   - suppressed: the number of records omitted since the last one of the same
//     event and reason.
//
// The log is bounded. Each event counts for its source: the combination of the
// address (for IPv6 its /48), the user and the client, as far as they are
// known. For each event and reason, one source may cause 100 records at once,
// and then 10 a second. All sources together may cause 1000 at once, and then
// 100 a second. Half of that is a reserve, from which each source gets one
// record a minute. So with up to 2000 sources at a time, no source waits longer
// than a minute for its next record.
//
// The Service also logs these errors, the first two within the same bounds:
//
//   - a panic in the host's code;
//   - a stored token that is corrupt, or an account that Lookup does not find
//     by its own name;
//   - a failed purge;
//   - a storage that fails to count sign-in attempts (once a minute);
//   - a rejected sign-in's token that could not be removed from the storage;
//   - a lost feed (its return is logged at info);
//   - a second call of Run while the first is still running;
//   - a clock that differs from the storage's;
//   - changed users or clients whose tokens could not be ended, once for each
//     outage (its end is logged at info);
//   - a failed search for other services in the storage.
//
// It logs these warnings, the first one within the same bounds, and each of the
// others once:
//
//   - the host's own code read a request body and did not restore it;
//   - another service uses the same storage;
//   - Run was not called although a cache or a [RevocationQueue] needs it, or
//     nothing was purged for [Options.PurgeInterval];
//   - a proxy that is not trusted names a client's address; the record names
//     the option to set;
//   - a client ID has a colon;
//   - in New: a wrapper hides an optional ability of the type that it wraps.
//
// # Compatibility
//
// Every later version reads the stored records and accepts the access tokens
// that clients hold. Before version 1 the Go API may change with a minor
// version; the changelog says how. Apply a new migration before you start the
// new version: the old version keeps working with it.
//
// # Concurrency
//
// A [Service] is safe for concurrent use. It starts goroutines only for calls of
// a [BatchFinder], and each goroutine ends with its calls. [Service.Run] does
// the background work: call it once for each Service, in every process.
package tokenauth
