// Package tokenauth adds a Token API to an existing web service. A client sends
// a user name and a password to /Token and receives an access token (RFC 6749
// §4.3). It then sends the token with each request as a bearer token (RFC
// 6750).
//
// This documentation calls the service that uses the package the host. The HTTP
// contract is the same as that of ASP.NET Web API, so clients written for such
// an API keep working.
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
// and more. [Options.Places] lets guards find the token in a cookie or in another
// header. [Options.Devices] lets a user be signed in on several devices at the
// same time. [Options.Refresh] issues refresh tokens. [Options.Keys] lets
// users make API keys for scripts. [Service.RevokeUser] ends a user's tokens, for
// example after a password change.
//
// The packages below storage/ implement [Storage]. The package
// tokenauth/password implements [Authenticator] for a table of users with
// password hashes. A host can also implement either interface itself.
//
// # Users, clients, slots and tokens
//
// A user (the resource owner) signs in through a client (the application). Each
// pair of a user and a client has a [Slot], which holds at most one token. Each
// sign-in overwrites the slot in one atomic step, so the previous token becomes
// invalid.
//
// With [Options.Devices], a sign-in may also name a device: one installation of
// the client, such as the app on a phone. Each device of a client has a slot of
// its own, and a sign-in replaces the token of its device only. A sign-in that
// names no device uses the slot of the user and the client, as without the
// option. [Service.Tokens] lists a user's sign-ins, [Service.RevokeDevice] ends
// one of them, and [Service.RevokeUser] ends all, or all others.
//
// With [Options.Keys], a signed-in user may make API keys, each in a slot of its own.
// The end of the user's sign-ins keeps the keys: see [Keys].
//
// With [Options.Refresh], the slot also holds the sign-in's refresh token. A
// refresh replaces both tokens ([Service.Refresh]). Whatever ends the slot's token
// ends both.
//
// The access token is the string that the client keeps. A [Token] is the record
// that the [Storage] keeps. It has the [Digest] of the access token, never the
// access token itself. It also has the [Principal] that the access token stands
// for.
//
// # Errors
//
// A rejected sign-in returns [ErrRejected]. An invalid token returns
// [ErrInvalidToken]. [ErrExpiredToken] and [ErrReplacedToken] wrap
// ErrInvalidToken and say why the token is invalid. If the storage or the
// host's code fails, the error is [ErrUnavailable] and the HTTP status is 503.
// Such a failure never lets a user in, and never makes a token invalid.
//
// # Time
//
// A token is valid in [issued, expires). Both times are in UTC. They are whole
// seconds, except that the time of issue has milliseconds with
// [Options.Devices]. With [Options.MaxLifetime], each use of a token extends it.
// [Options.IdleTimeout] ends tokens that are not used. Within one process the clock never runs backwards, so an expired token stays
// expired. The Service also accepts a token whose issue time is in the future,
// because a replica with a fast clock may have issued it a moment ago.
//
// Synchronize the clocks of all replicas, for example by NTP. A replica whose
// clock is wrong issues tokens that expire too early or too late, and checks
// the tokens of other replicas against its own time. The Service cannot correct
// a wrong clock. It only logs an error: see [Service.Run].
//
// # Endpoints
//
// [Service.Mount] mounts the token endpoint, and the endpoints that [Endpoints]
// names: revocation (RFC 7009), introspection (RFC 7662) and metadata (RFC
// 8414). The package openapi describes the mounted endpoints.
//
// A host may keep its own login handler instead of the token endpoint, or
// beside it. The handler calls [Service.SignIn] with the credentials of
// [Service.RequestCredentials], and answers errors by [ErrorResponseOf].
//
// Middleware in front of the endpoints should not read the request body. If it
// called [http.Request.ParseForm], as Gin's PostForm and ShouldBind do, the
// endpoints read [http.Request.PostForm] instead of the body, and apply the
// same rules. But ParseForm drops each parameter that contains a semicolon or a
// malformed escape, so the endpoints never receive such a password.
//
// If middleware read the body in another way and did not restore it, the answer
// is 400. The Service then logs a warning. It logs no warning if the request
// has no Content-Length, because such a request may never have had a body.
//
// # Logging and alerts
//
// The Service reports an [Event] for each action. [Options.Logger] receives the
// events that a security log needs. [Options.Observers], such as those of the
// packages prommetrics and oteltrace, receive all events.
//
//	event            reason             level  what to do about it
//	issued           -                  info   look up the "account" of a refused sign-in here to find its user
//	                 key                info   - (a user made an API key)
//	sign_in_refused  -                  info   - (the password was right, but something else is missing, such
//	                                           as a one-time code)
//	                 credentials        warn   alert on a rate far above the usual: someone guesses passwords;
//	                                           with "rejection", the password was right
//	                 throttled          warn   as above, but already throttled; records with the same
//	                                           "account" are for the same user name
//	                 client             warn   a client has an old secret, or someone guesses secrets
//	                 malformed          debug  -
//	validated        -, key             -      -
//	                 fallback           -      once these events stop, remove Options.Fallback
//	refreshed        -                  info   -
//	                 repeated           info   - (the answer was lost, or two tabs refreshed at once)
//	                 repeated_elsewhere warn   as above, but from another address: ask the user if it continues
//	refresh_refused  reused             warn   alert: there is a copy of a refresh token, so the sign-in
//	                                           ended (a revoked event with the same reason)
//	                 client             warn   a client has an old secret, or another client's refresh token
//	                 invalid, expired   debug  -
//	refused          replaced           warn   alert if it continues: two processes share an account (user_id,
//	                                           client_id) and keep replacing each other's token; with
//	                                           Options.Refresh, a refresh by another tab causes one, too
//	                 role, client, key  warn   a user, a client or an API key tried something that it may not do
//	                 expired, invalid,
//	                 no_credentials,
//	                 malformed,
//	                 cross_site         debug  alert on a rate of "invalid" far above the usual
//	introspected     -, or a reason     debug  - (the reason says why the token is not active)
//	revoked          -, user, client,
//	                 all, key           info   - (without a reason: one token, which was stored)
//	                 devices            info   - (the user has more devices than DeviceOptions.Max)
//	                 reused             info   see refresh_refused
//	unavailable      -                  error  alert: the storage or a user look-up fails
//	                 internal           error  alert: the host's code panicked, or returned an invalid principal
//	                 busy               -      alert: more sign-ins arrive than password.Options allows to hash
//	                 canceled           -      if there are many, clients give up too early
//
// A record has these attributes, each only if it is known:
//
//   - event and reason, as in the table;
//   - user_id, user_name, client_id, device and remote_addr (the device is an ID
//     that the client chose);
//   - key: the ID of the API key, which is its beginning;
//   - token: the first 16 digits of its digest;
//   - account: a keyed hash of the user name that was typed;
//   - rejection: the Code of the [Rejection], if the password was right and there
//     is one;
//   - error: the cause of an unavailable event;
//   - needs_one_of and has_roles, if the user has none of the required roles:
//     the required roles, and the user's roles;
//   - suppressed: the number of records that were omitted since the last record
//     with the same event and reason.
//
// The log is bounded, separately for each event and reason. A source is a
// combination of an address (for IPv6, its /48), a user and a client, as far as
// they are known. Each source may cause 100 records at once and then 10 a
// second. All sources together may cause 1000 at once and then 100 a second.
// Half of the 1000 is a reserve: once the other half is used, each source may
// cause only one record a minute. So with up to 2000 sources at a time, no
// source waits longer than a minute for its next record.
//
// The Service also logs these errors, the first three within the same bounds:
//
//   - a panic in the host's code;
//   - a [Rejection] that cannot be sent, because its Code or Description is not
//     valid;
//   - a stored token that is corrupt, or an account that Lookup finds by the
//     typed name but not by the account's own name;
//   - a failed purge;
//   - a storage that fails to count sign-in attempts (once a minute);
//   - a failure to remove a rejected sign-in's token from the storage;
//   - the loss of the storage's feed, which the cache needs (its return is
//     logged at info);
//   - a failure to check the tokens of open streams, once for each outage (the
//     end of the outage is logged at info);
//   - a call to Run while an earlier call is still running;
//   - a local clock that differs from the storage's clock;
//   - a failure to record when tokens were used, once for each outage (the end
//     of the outage is logged at info);
//   - a failure to end idle tokens (tokens that ended as idle are logged at info,
//     with their number);
//   - a failure to end the tokens of changed users or clients, once for each
//     outage (the end of the outage is logged at info);
//   - a failed search for other services in the storage, once for each outage.
//
// It logs these warnings, the first one within the same bounds and the others
// only once:
//
//   - the host's own code read a request body and did not restore it;
//   - another service uses the same storage;
//   - Run was not called although a cache, a [RevocationQueue], or the recording
//     of uses needs it ([Options.Devices], [Options.MaxLifetime],
//     [Options.IdleTimeout], [Options.Keys]), or nothing was purged for
//     [Options.PurgeInterval];
//   - a proxy that is not trusted sent a client's address; the record names the
//     option to set;
//   - a client ID contains a colon;
//   - a refresh was repeated at a process with another [RefreshOptions.Key] (within
//     the same bounds);
//   - a wrapper hides an optional ability of the type that it wraps (logged by
//     New).
//
// # Compatibility
//
// Every later version can read the records that this version stores, and
// accepts the access tokens that clients hold. Before version 1, a minor
// version may change the Go API; the changelog describes each change. Apply new
// migrations before you start the new version. The old version keeps working
// after the migrations.
//
// A new version stores nothing new until an option asks for it. So replicas of
// both versions can run side by side. Set [Options.Devices],
// [Options.MaxLifetime] and [Options.IdleTimeout] when all replicas run a
// version that has them: an older version does not know when a token was used.
// Set [Options.Refresh] then, too: an older version accepts no refresh tokens, and
// its sign-ins issue none. Set [Options.Keys] then, too: an older version lists the
// record of a user who has keys as a sign-in. These options may be removed again. Tokens
// on devices then stay valid until they expire or are revoked, and keys are refused.
//
// # Concurrency
//
// A [Service] is safe for concurrent use. Outside [Service.Run], it starts
// goroutines only to call a [BatchFinder], and each ends when its calls have
// returned. At the end of a stream, a goroutine forgets it
// ([Requirement.Stream]). Run does the background work: call it once for each
// Service, in every process.
package tokenauth
