package tokenauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// Options configures a [Service]. Nil or the zero value selects the defaults.
type Options struct {
	// Name identifies this service among those that keep tokens in the same
	// storage. It has at most 256 bytes of UTF-8 without NUL. Empty means the
	// path of the program's main module, or no name if the build does not
	// record it. All replicas of a service share one name.
	//
	// Two services in one storage accept each other's tokens, and a sign-in at
	// one ends the user's token at the other. To detect this mistake,
	// [Service.Run] of each service logs a warning with both names, soon after
	// it starts or within PurgeInterval. For that, Run stores its name as a
	// token under a reserved key. The name counts for two days.
	//
	// Services that share a storage on purpose set the same Name. Programs
	// built from one module have the same Name by default.
	Name string

	// Lifetime is how long a token is valid, in whole seconds. Zero means 14
	// days. The range is 1 minute to 365 days.
	Lifetime time.Duration

	// Prefix begins every access token, so that secret scanners can find leaked
	// tokens. It has 1 to 16 letters, digits, '-' and '_'. Empty means "tat_".
	// After a change of the prefix, the Service rejects all earlier tokens.
	Prefix string

	// Realm is the realm in challenges (RFC 9110 §11.5): printable ASCII
	// without quotes and backslashes. Empty means "api".
	Realm string

	// ResponseAttributes names the [Principal.Attributes] that the token
	// response and the introspection response show, in this order, after their
	// own members. Empty means none. A response omits an attribute that the
	// user does not have. A name must differ, ignoring case, from the other
	// names and from the response's own members: many decoders compare names
	// without case.
	ResponseAttributes []string

	// DisableGET makes the token endpoint refuse GET with 405. By default it
	// accepts GET as it accepts POST, because the original API documents GET.
	DisableGET bool

	// Timeout bounds each call of these:
	//
	//   - the [Storage] and its optional abilities, except [Purger.Purge],
	//     [ClientRevoker.RevokeClient] and [Watcher.Watch];
	//   - [Rechecker.Recheck] and the LiveCheck method of the [Authenticator];
	//   - LiveCheck and Fallback of these Options;
	//   - [ClientRegistry.FindClient];
	//   - the methods of a [RevocationQueue].
	//
	// It does not bound [Authenticator.Authenticate]. The context of the call
	// ends after the timeout, or at the caller's deadline if that is earlier. A
	// request whose call times out gets a 503. If the counters of the throttle
	// time out, this process counts the attempt on its own.
	//
	// Zero means 2 seconds. The range is 10 milliseconds to 1 minute.
	Timeout time.Duration

	// BodyTimeout bounds how long the request body may take to arrive at the
	// token, revocation and introspection endpoints. Zero means 5 seconds. The
	// range is 100 milliseconds to 1 minute. It never extends
	// [http.Server.ReadTimeout].
	BodyTimeout time.Duration

	// Cache keeps tokens in memory, so that most validations need no storage
	// call. It needs a storage that is a [Watcher], and a running
	// [Service.Run]. Nil means that each validation asks the storage, and that
	// the next request with an ended token is rejected.
	Cache *CacheOptions

	// Clients is the registry of the applications through which users may sign
	// in. Nil means that there is one application: the endpoints accept any
	// client_id and client_secret, and ignore them.
	Clients ClientRegistry

	// LiveCheck decides, in each validation, whether the principal of a valid
	// token may still use it. Nil means that a token is valid until it is
	// revoked, replaced or expired.
	//
	//   - It returns nil to accept the token.
	//   - It returns [ErrRejected], possibly wrapped, to reject the token.
	//   - Any other error becomes a 503.
	//
	// [Service.Validate] and Observers receive the error with everything that
	// it wraps. Clients never see it. Timeout bounds the call.
	LiveCheck func(context.Context, Principal) error

	// Fallback authenticates requests on protected routes that have no bearer
	// token, or whose bearer token does not begin with Prefix. Use it while
	// older tokens or sessions of the host are still valid. Nil means no
	// fallback.
	//
	//   - It returns the principal to accept the request.
	//   - It returns [ErrRejected], possibly wrapped, for a request that it
	//     does not know. The answer is the same as without a Fallback.
	//   - Any other error becomes a 503.
	//
	// Observers receive the error with everything that it wraps. Timeout bounds
	// the call. The Service calls LiveCheck after it. A LiveCheck that compares
	// [Principal.Stamp] needs a stamp that Fallback set.
	//
	// The Service never calls Fallback for a bearer token that begins with
	// Prefix, valid or not. It does call Fallback if such a token arrives in
	// another place, such as a cookie or an Authorization header without a
	// scheme. Fallback should return ErrRejected for it.
	//
	// The [Token] of the request ([FromContext]) has only a [Principal]. Its
	// Digest, IssuedAt and ExpiresAt are zero. A handler that renews tokens by
	// their expiry must skip it, because a zero ExpiresAt looks expired.
	//
	// Fallback must decide by the request, and not by a value in its context: a
	// request that a handler makes on that context has the value, too. A second
	// guard does not call Fallback again for the same request. It calls it
	// again if a handler between the guards changed the request, other than by
	// removing a prefix of the path.
	//
	// On routes behind [Service.Optional], the handler must add to Vary what
	// Fallback depends on, such as Cookie. The Service only adds Authorization
	// for an anonymous request.
	Fallback func(*http.Request) (Principal, error)

	// Throttle limits password guessing. The zero value selects the defaults.
	Throttle ThrottleOptions

	// TrustedProxies are the proxies whose ProxyHeader the Service uses. Empty
	// means none: a client's address is then the address of its connection. The
	// setting of a router, such as Gin's SetTrustedProxies, has no effect here.
	TrustedProxies []netip.Prefix

	// TrustedSockets are Unix sockets on which only trusted proxies connect,
	// such as nginx with "proxy_pass http://unix:…". A socket is named as the
	// server listens on it: by its path, or by "@" and the name of an abstract
	// socket. Empty means none.
	//
	// A Unix socket has no client address. So all requests over a socket that
	// is not listed share the limits of one address.
	//
	// The value "unix:" also trusts an entry of ProxyHeader in which nginx
	// reports that a proxy connected over a Unix socket.
	TrustedSockets []string

	// ProxyHeader is the header in which trusted proxies send a client's
	// address. It has a list to which each proxy appends the address of its
	// peer, or one address, such as X-Real-IP. "Forwarded" is parsed as in RFC
	// 7239. Empty means X-Forwarded-For.
	//
	// Choose a header that every trusted proxy sets or appends to on every
	// request. A proxy forwards a header that it does not know unchanged, so a
	// client could put any address into it. For this reason there is only one
	// header, and no list of alternatives.
	ProxyHeader string

	// RenderError writes the status and the body of an error response on a
	// protected route in the host's own format. Nil means JSON as clients of
	// ASP.NET Web API know it.
	//
	// The Service sets the protocol's headers before the call, also
	// WWW-Authenticate. They are sent with any status that RenderError writes,
	// even with 200. If it writes no status, the response has the status of the
	// error. If it panics before it writes, the Service logs the panic and
	// answers as without RenderError.
	RenderError func(http.ResponseWriter, *http.Request, *ErrorResponse)

	// PurgeInterval is how often [Service.Run] removes expired tokens. Zero
	// means 1 hour. The range is 1 second to 24 hours.
	PurgeInterval time.Duration

	// Logger receives the log records that the package documentation lists. Nil
	// means [slog.Default].
	Logger *slog.Logger

	// Observers are called with each [Event], for metrics, traces and audits.
	// Empty means none.
	//
	//   - The goroutine of the request calls them before it writes the
	//     response. They must return quickly, and leave long work to another
	//     goroutine.
	//   - They are called concurrently.
	//   - They cannot change the outcome. A panic is logged.
	Observers []func(context.Context, Event)

	// Now returns the time. It is meant for tests and must be safe for
	// concurrent use. Nil means the system clock, adjusted so that it never
	// runs backwards.
	Now func() time.Time
}

// withDefaults returns a copy in which the defaults are filled in. The error
// names the first invalid field.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Name == "" {
		c.Name = mainModule()
	}
	setDefault(&c.Lifetime, 14*24*time.Hour)
	setDefault(&c.Prefix, "tat_")
	setDefault(&c.Realm, "api")
	setDefault(&c.Timeout, 2*time.Second)
	setDefault(&c.BodyTimeout, 5*time.Second)
	setDefault(&c.PurgeInterval, time.Hour)
	setDefault(&c.ProxyHeader, "X-Forwarded-For")
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c = c.clone()
	for _, observe := range c.Observers {
		if observe == nil {
			return c, errors.New("tokenauth: Options.Observers contains nil")
		}
	}
	if c.Clients != nil && isNil(c.Clients) {
		return c, fmt.Errorf("tokenauth: Options.Clients is nil%s", ofType(c.Clients))
	}

	if len(c.Name) > maxNameSize || !storable(c.Name) {
		return c, fmt.Errorf("tokenauth: Options.Name has %d bytes, must be at most %d bytes of UTF-8 without NUL", len(c.Name), maxNameSize)
	}
	for _, d := range []struct {
		field         string
		got, min, max time.Duration
	}{
		{"Lifetime", c.Lifetime, time.Minute, 365 * 24 * time.Hour},
		{"Timeout", c.Timeout, 10 * time.Millisecond, time.Minute},
		{"BodyTimeout", c.BodyTimeout, 100 * time.Millisecond, time.Minute},
		{"PurgeInterval", c.PurgeInterval, time.Second, 24 * time.Hour},
	} {
		if d.got < d.min || d.got > d.max {
			return c, fmt.Errorf("tokenauth: Options.%s is %v, must be from %v to %v", d.field, d.got, d.min, d.max)
		}
	}
	if c.Lifetime%time.Second != 0 {
		return c, fmt.Errorf("tokenauth: Options.Lifetime is %v, must be whole seconds", c.Lifetime)
	}
	if len(c.Prefix) > accesstoken.MaxPrefix || strings.ContainsFunc(c.Prefix, notBase64URL) {
		return c, fmt.Errorf("tokenauth: Options.Prefix is %q, must be 1 to %d letters, digits, '-' and '_'", c.Prefix, accesstoken.MaxPrefix)
	}
	if strings.ContainsFunc(c.Realm, notQuotable) {
		return c, fmt.Errorf("tokenauth: Options.Realm is %q, must be printable ASCII without quotes and backslashes", c.Realm)
	}
	for i, name := range c.ResponseAttributes {
		switch {
		case name == "" || !storable(name):
			return c, fmt.Errorf("tokenauth: Options.ResponseAttributes has %q, must be non-empty UTF-8 without NUL, as the names of Principal.Attributes are", name)
		case wire.HasMember(wire.TokenResponse(), name):
			return c, fmt.Errorf("tokenauth: Options.ResponseAttributes has %q, which is a member of every response; decoders compare names without case", name)
		case wire.HasMember(c.ResponseAttributes[:i], name):
			return c, fmt.Errorf("tokenauth: Options.ResponseAttributes has %q twice; decoders compare names without case", name)
		}
	}
	var err error
	if c.Throttle, err = c.Throttle.withDefaults(); err != nil {
		return c, err
	}
	for _, proxy := range c.TrustedProxies {
		if !proxy.IsValid() {
			return c, fmt.Errorf("tokenauth: Options.TrustedProxies has an invalid prefix")
		}
		if proxy.Addr().Is4In6() {
			return c, fmt.Errorf("tokenauth: Options.TrustedProxies has %v, an IPv4 prefix written as IPv6, which no address would match", proxy)
		}
	}
	if slices.Contains(c.TrustedSockets, "") {
		return c, errors.New("tokenauth: Options.TrustedSockets has an empty name")
	}
	if !isToken(c.ProxyHeader) {
		return c, fmt.Errorf("tokenauth: Options.ProxyHeader is %q, must be the name of one header", c.ProxyHeader)
	}
	c.ProxyHeader = http.CanonicalHeaderKey(c.ProxyHeader)
	return c, nil
}

const maxNameSize = 256 // bytes of Options.Name

// mainModule returns the path of the module that the program is built from, or
// "" if the build does not record it.
func mainModule() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || len(info.Main.Path) > maxNameSize || info.Main.Path == "command-line-arguments" {
		return ""
	}
	return info.Main.Path
}

// isToken reports whether s is a token (RFC 9110 §5.6.2), as the name of a
// header must be.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
	})
}

// clone returns a copy that shares no slices with o.
func (o Options) clone() Options {
	o.ResponseAttributes = slices.Clone(o.ResponseAttributes)
	o.TrustedProxies = slices.Clone(o.TrustedProxies)
	o.TrustedSockets = slices.Clone(o.TrustedSockets)
	o.Observers = slices.Clone(o.Observers)
	return o
}

func notBase64URL(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}

func notQuotable(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }
