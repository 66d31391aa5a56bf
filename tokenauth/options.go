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

// Options configures a Service. Nil or the zero value selects the defaults.
type Options struct {
	// Name is that of the service, among those that keep tokens in one storage;
	// empty means the path of the program's main module, and no name if the build
	// does not tell it. It has at most 256 bytes of UTF-8 without NUL. The replicas
	// of a service share it.
	//
	// Two services in one storage accept each other's tokens, and a sign-in at one
	// ends the user's token at the other. Where that is a mistake, Run of each logs a
	// warning with both names, soon after it starts or within PurgeInterval. It goes
	// by a token that Run stores under a key that no user has, and that counts for
	// two days. Services that share a storage on purpose set the same Name. Programs
	// of one module have the same Name, unless they set one.
	Name string

	// Lifetime is how long a token is valid, in whole seconds; zero means 14
	// days. From 1 minute to 365 days.
	Lifetime time.Duration

	// Prefix begins every access token, so that a secret scanner can find a
	// leaked one; empty means "tat_". It has 1 to 16 letters, digits, '-' and
	// '_'. With another prefix, the Service rejects all earlier tokens.
	Prefix string

	// Realm is named in challenges (RFC 9110 §11.5); empty means "api". It is
	// printable ASCII without quotes and backslashes.
	Realm string

	// ResponseAttributes names the attributes of the principal that the token
	// response and introspection show after their own members, in this order;
	// empty means none. A response leaves out what the user does not have. No
	// name may equal another one, or a member of the response, in any case: many
	// decoders compare names without case.
	ResponseAttributes []string

	// DisableGET refuses GET at the token endpoint with 405. Zero means that
	// GET works as POST does, which is the documented call.
	DisableGET bool

	// Timeout bounds each storage call except Purge, RevokeClient and Watch,
	// and each call of Recheck, LiveCheck, Fallback and FindClient. It does not
	// bound Authenticate. A call that takes longer becomes a 503, or for the
	// counters of the throttle a count in this process. Zero means 2 seconds.
	// From 10 milliseconds to 1 minute.
	Timeout time.Duration

	// BodyTimeout bounds how long the body of a request for a token, for
	// revocation or for introspection may take to arrive; zero means 5 seconds.
	// From 100 milliseconds to 1 minute. It never extends http.Server.ReadTimeout.
	BodyTimeout time.Duration

	// Cache keeps tokens in memory, so that a validation need not ask the
	// storage. It needs a storage that is a Watcher, and Service.Run. Nil means
	// that each validation asks the storage, and that a token which ends is
	// rejected from the next request on.
	Cache *CacheOptions

	// Clients is the registry of the applications through which users may sign
	// in. Nil means that there is one application, and that client_id and
	// client_secret are ignored.
	Clients ClientRegistry

	// LiveCheck decides on each validation whether the principal of a valid
	// token may still use it. It returns nil for yes and ErrRejected, possibly
	// wrapped, for no; any other error becomes a 503. Validate and Observers get
	// the error with what it wraps, clients never do. Timeout bounds it. Nil means
	// that a token is valid until it is revoked, replaced or expired.
	LiveCheck func(context.Context, Principal) error

	// Fallback authenticates requests on protected routes that have no bearer
	// token, or one that does not begin with Prefix. It is for a host whose
	// older tokens or sessions stay valid until they expire. It returns the
	// principal; ErrRejected, possibly wrapped, if it does not know the request,
	// which is then answered as without a Fallback; any other error becomes a
	// 503. Observers get the error with what it wraps. Timeout bounds it.
	// LiveCheck is called after it.
	//
	// A second guard does not call it again for a request that it authenticated. It
	// does if a handler between them changed the request, other than by taking a
	// prefix off the path. It should go by the request, and not by a value in its
	// context: a request that a handler makes on that context has the value, too.
	//
	// It is never called for this Service's own tokens, valid or not. The token
	// of a request that it authenticated (FromContext) has only a Principal. A
	// LiveCheck that compares Principal.Stamp needs the one that Fallback sets.
	//
	// On routes behind Optional, a handler adds to Vary what Fallback goes by, such as
	// Cookie: a response to an anonymous request varies by Authorization alone.
	//
	// Nil means no fallback.
	Fallback func(*http.Request) (Principal, error)

	// Throttle limits guesses of passwords. The zero value selects the defaults.
	Throttle ThrottleOptions

	// TrustedProxies are the proxies whose ProxyHeader is used; empty means none,
	// and then a client's address is its peer's. The setting of a router, such as
	// Gin's SetTrustedProxies, has no effect here.
	TrustedProxies []netip.Prefix

	// TrustedSockets are the Unix sockets on which trusted proxies alone connect,
	// such as nginx with "proxy_pass http://unix:…", by the name with which the server
	// listens: a path, or "@" and the name of an abstract one. Empty means none. All
	// requests over a socket that is not named share the limits of one address, as
	// the peer has none. "unix:" also trusts an entry of ProxyHeader in which nginx
	// says that a proxy reached it over such a socket.
	TrustedSockets []string

	// ProxyHeader is the header in which trusted proxies name the address of a
	// client: a list of addresses to which each proxy appends the one that it got
	// the request from, or one address, such as X-Real-IP; "Forwarded" is read as
	// RFC 7239 says. Empty means X-Forwarded-For.
	//
	// It is a header that each trusted proxy sets or appends to, on each request. A
	// proxy passes on a header that it does not know, and there a client could
	// write any address. So there is one header, and no order of several.
	ProxyHeader string

	// RenderError writes status and body of an error response on a protected
	// route in the host's own format. The headers of the protocol are set
	// before. An answer for which it writes no status has that of the error. If it
	// panics before it writes, the panic is logged and the answer is as without it.
	// Nil means JSON as clients of ASP.NET Web API know it.
	RenderError func(http.ResponseWriter, *http.Request, *ErrorResponse)

	// PurgeInterval is how often Run removes expired tokens; zero means every
	// hour. From 1 second to 24 hours.
	PurgeInterval time.Duration

	// Logger receives the records of the table in the package's documentation.
	// Nil means slog.Default().
	Logger *slog.Logger

	// Observers are called with each event, for metrics, traces and audits;
	// empty means none.
	//
	//   - The request's goroutine calls them, before the answer is written: they
	//     return at once, and hand long work to another goroutine.
	//   - Many requests call them at the same time.
	//   - They decide nothing. A panic is logged.
	Observers []func(context.Context, Event)

	// Now returns the time, for tests; nil means the system's clock, held so
	// that it never runs backwards. It is safe for concurrent use.
	Now func() time.Time
}

// withDefaults returns a copy with the zeros filled in, or an error that names
// the first field that is wrong.
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
			return c, errors.New("tokenauth: Options.Observers has a nil")
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

// mainModule returns the path of the module that the program is built from, or ""
// if the build does not tell it.
func mainModule() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || len(info.Main.Path) > maxNameSize || info.Main.Path == "command-line-arguments" {
		return ""
	}
	return info.Main.Path
}

// isToken reports whether a text is a token (RFC 9110 §5.6.2), as names of headers
// are.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
	})
}

// clone returns a copy whose slices nobody else has.
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
