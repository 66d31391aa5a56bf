// Package tokenauth gives an existing web application a Token API: clients
// trade a user name and a password for an access token at /Token (RFC 6749
// §4.3), and send it as a bearer token (RFC 6750) from then on.
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
// # Concurrency
//
// A [Service] is safe for concurrent use. It starts no goroutine; what has to
// be done in the background is done by [Service.Run] while the host runs it.
package tokenauth
