package tokenauth

import (
	"cmp"
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
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

// Options configures a [Service]. Nil or the zero value selects the defaults.
type Options struct {
	// Name identifies this service among those that keep tokens in the same
	// storage. It has at most 256 bytes of UTF-8 without NUL. Empty means the
	// path of the program's main module, or no name if the build does not
	// record it. All replicas of a service have the same name.
	//
	// Two services in one storage accept each other's tokens, and a sign-in at
	// one ends the user's token at the other. To detect this mistake, each
	// service's [Service.Run] logs a warning with both names, soon after it
	// starts or within PurgeInterval. To make this possible, Run stores the
	// name as a token under a reserved key. Other services ignore a name that
	// was last stored more than two days ago.
	//
	// Services that share a storage on purpose set the same Name. Programs
	// built from one module have the same Name by default.
	Name string

	// Lifetime is how long a token is valid, in whole seconds. Zero means 14
	// days. The range is 1 minute to 365 days. A client or a single sign-in may
	// have another one ([Client.Lifetime], [Credentials.Lifetime],
	// [IssueOptions.Lifetime]).
	Lifetime time.Duration

	// MaxLifetime makes tokens live on while they are used: a token is then
	// valid for its lifetime after each use, but never longer than MaxLifetime
	// after the sign-in. The access token stays the same string. Zero means
	// that a use does not change when a token expires. The range is Lifetime to
	// 365 days, in whole seconds.
	//
	// It is accurate to an hour: a token lives for at least its lifetime after
	// its last use, and at most an hour longer. A token whose lifetime is less
	// than an hour lives on only by [Service.Extend]. MaxLifetime needs a
	// storage that is a [UseRecorder], and [Service.Run] must be running in
	// every process.
	MaxLifetime time.Duration

	// IdleTimeout ends tokens that were not used for this long. Zero means that
	// an unused token lives until it expires. The range is 2 hours to 365 days.
	//
	// Uses are recorded once an hour, and [Service.Run] ends idle tokens once in
	// each PurgeInterval. So a token ends at the earliest after IdleTimeout, and
	// at the latest an hour, two minutes and PurgeInterval later. IdleTimeout
	// needs a storage that is a [UseRecorder], and Run must be running in every
	// process.
	//
	// If no uses were recorded before, every token that was issued before this
	// time ends, also one in use. To avoid that, first set IdleTimeout to 365
	// days, at all replicas. When this has recorded uses for as long as the new
	// IdleTimeout and two hours, set that one.
	IdleTimeout time.Duration

	// Devices lets a user be signed in on several devices of one client at the
	// same time. Nil means that there is one token for each user and client.
	Devices *DeviceOptions

	// Refresh makes sign-ins return a refresh token, with which an application stays
	// signed in without the password. Nil means none: the token endpoint refuses the
	// grant refresh_token. It cannot be combined with MaxLifetime.
	Refresh *RefreshOptions

	// Keys lets users make API keys, which are tokens for scripts. Nil means that
	// there are none. [NewKeys] returns what makes, lists and ends them.
	Keys *KeyOptions

	// Every access token begins with Prefix, so that secret scanners can find
	// leaked tokens. It has 1 to 16 letters, digits, '-' and '_'. Empty means
	// "tat_". If you change Prefix, the Service rejects all tokens that it
	// issued before.
	Prefix string

	// Places are the places in a request where the guards look for its access
	// token. Nil means the Authorization header with the scheme Bearer. If
	// Places is not nil, the guards look only in the places that it lists: to
	// keep Bearer beside a cookie, list both.
	//
	//	Places: []place.Place{place.Scheme("Bearer"), place.Cookie{Name: "session"}}
	//
	// Headers come first, then cookies, then the query. The first place that a
	// request has decides, valid or not: a bad token in a header never falls back
	// to a cookie. Each place is documented in package place. The endpoints, such
	// as the token endpoint, do not look in Places.
	Places []place.Place

	// Realm is the realm in challenges (RFC 9110 §11.5): printable ASCII
	// without quotes and backslashes. Empty means "api".
	Realm string

	// ResponseAttributes names the [Principal.Attributes] that the token
	// response and the introspection response show, in this order, after their
	// own members. Empty means none. A response omits an attribute that the
	// user does not have. A name must differ, ignoring case, from the other
	// names and from the response's own members, because many decoders ignore
	// the case of names.
	ResponseAttributes []string

	// Parameters names further parameters that a token request may have, such
	// as "otp" for a one-time code. The [Authenticator] gets their values in
	// [Credentials.Parameters]. Empty means that the token endpoint ignores
	// every parameter that it does not know. At most 8 names are allowed. A name
	// has 1 to 64 letters, digits, '-', '_' and '.', and differs, ignoring case,
	// from the other parameters of the endpoint. A value has at most 1024 bytes.
	// Like a password, it may not be in the query, and is never logged.
	Parameters []string

	// DisableGET makes the token endpoint refuse GET with 405. By default it
	// accepts GET, with the parameters in the body as for POST, because the
	// original API documents GET.
	DisableGET bool

	// Timeout limits how long each call to one of the following may take:
	//
	//   - the [Storage] and its optional abilities, except [Purger.Purge],
	//     [BulkRevoker.RevokeClient] and [Watcher.Watch];
	//   - [Rechecker.Recheck] and the LiveCheck method of the [Authenticator];
	//   - [Options.LiveCheck] and [Options.Fallback];
	//   - [ClientRegistry.FindClient];
	//   - the methods of a [RevocationQueue].
	//
	// It does not limit [Authenticator.Authenticate]. The context of the call
	// ends after the timeout, or at the caller's deadline if that is earlier. A
	// request whose call times out gets a 503. If the storage does not count a
	// sign-in attempt in time, this process counts the attempt on its own.
	//
	// Zero means 2 seconds. The range is 10 milliseconds to 1 minute.
	Timeout time.Duration

	// BodyTimeout limits how long the request body may take to arrive at the
	// token, revocation and introspection endpoints. Zero means 5 seconds. The
	// range is 100 milliseconds to 1 minute. It never extends
	// [http.Server.ReadTimeout].
	BodyTimeout time.Duration

	// Cache keeps tokens in memory, so that most validations need no storage
	// call. It needs a storage that is a [Watcher], and [Service.Run] must be
	// running. Nil means that each validation asks the storage, so an ended
	// token is rejected from the next request on.
	Cache *CacheOptions

	// StreamInterval is how often [Service.Run] checks the tokens of open streams
	// ([Requirement.Stream]) if the storage has no feed that reports changes, or
	// while the feed is lost. If LiveCheck is set, it is asked as often. All
	// streams with the same token share a check. Zero means 5 seconds. The range
	// is 100 milliseconds to 1 hour.
	StreamInterval time.Duration

	// Clients is the registry of the applications through which users may sign
	// in. Nil means that there is one application: the endpoints accept any
	// client_id and client_secret, and ignore them.
	Clients ClientRegistry

	// LiveCheck decides, in each validation, whether the principal of a valid
	// token may still use it. Nil means that a token is valid until it is
	// revoked, replaced or expired.
	//
	// It gets a copy of the [Token]. For a request that Fallback authenticated,
	// the Token has only a Principal. For an API key, the Principal has the owner's
	// Stamp.
	//
	//   - It returns nil to accept the token.
	//   - It returns [ErrRejected], possibly wrapped, to reject the token.
	//   - Any other error becomes a 503.
	//   - After it rejected a Token whose Principal has a Stamp, it is called
	//     once more if the Token has another Stamp by then, because a change of
	//     the user kept the Token.
	//
	// [Service.Validate] and Observers receive the error with everything that
	// it wraps. Clients never see it. Timeout limits the call.
	LiveCheck func(context.Context, Token) error

	// Fallback authenticates requests on protected routes that have no token in
	// one of Places, or whose token does not begin with Prefix,
	// [RefreshOptions.Prefix] or [KeyOptions.Prefix]. Use it for as long as the host
	// still accepts older tokens or sessions. Nil means no fallback.
	//
	//   - It returns the principal to accept the request.
	//   - It returns [ErrRejected], possibly wrapped, for a request that it
	//     does not recognize. The response is then the same as without a
	//     Fallback.
	//   - Any other error becomes a 503.
	//
	// Observers receive the error with everything that it wraps. Timeout limits
	// the call. After Fallback accepts a request, the Service calls LiveCheck.
	// If LiveCheck compares [Principal.Stamp], Fallback must set it.
	//
	// The Service never calls Fallback for a token in one of Places that begins
	// with one of these prefixes, valid or not. It does call Fallback if such a
	// token arrives in a place that is not listed. By default these are all except Authorization:
	// Bearer. Fallback should return ErrRejected for such a token. The Service
	// does not call it for a request that it refuses because the request comes
	// from another site ([place.Cookie]).
	//
	// The [Token] of the request ([FromContext]) has only a [Principal]. Its
	// Digest, IssuedAt and ExpiresAt are zero. A handler that renews tokens
	// before they expire must skip such a token, because a zero ExpiresAt looks
	// expired.
	//
	// Fallback must decide by the request, and not by a value in the request's
	// context. A handler may make another request with the same context, so
	// that request has the value, too. If a request passes two guards, the
	// second one calls Fallback again only if a handler between them changed
	// the request. Removing a path prefix does not count as a change.
	//
	// On routes behind [Service.Optional], the handler must add to Vary each
	// header that Fallback depends on, such as Cookie. For an anonymous
	// request, the Service adds only the headers of Places.
	Fallback func(*http.Request) (Principal, error)

	// Throttle limits password guessing. The zero value selects the defaults.
	Throttle ThrottleOptions

	// TrustedProxies are the addresses of the proxies whose ProxyHeader the
	// Service trusts. Empty means none: a client's address is then the address
	// of its connection. A router's own setting, such as Gin's
	// SetTrustedProxies, has no effect here.
	TrustedProxies []netip.Prefix

	// TrustedSockets are Unix sockets to which only trusted proxies connect,
	// such as nginx with "proxy_pass http://unix:…". Write each socket as the
	// server listens on it: as its path, or as "@" and its name if it is an
	// abstract socket. Empty means none.
	//
	// A connection over a Unix socket has no client address, so all requests
	// over a socket that is not listed share one set of limits, as if they came
	// from one address.
	//
	// The value "unix:" means that the Service also trusts a proxy that the
	// ProxyHeader lists as "unix:". That is how nginx names a proxy that
	// connected to it over a Unix socket.
	TrustedSockets []string

	// ProxyHeader is the header in which trusted proxies send a client's
	// address. It contains either a list to which each proxy appends its peer's
	// address, or a single address, as X-Real-IP does. "Forwarded" is parsed as
	// in RFC 7239. Empty means X-Forwarded-For.
	//
	// Choose a header that every trusted proxy sets or appends to on every
	// request. A proxy forwards unknown headers unchanged, so a client could
	// put any address into such a header. For this reason, ProxyHeader is a
	// single header and not a list of alternatives.
	ProxyHeader string

	// RenderError writes the status and the body of an error response on a
	// protected route in the host's own format. Nil means the JSON that clients
	// of ASP.NET Web API know.
	//
	// Before the call, the Service sets the headers that the protocol requires,
	// such as WWW-Authenticate. If RenderError writes a status below 400, the
	// Service removes WWW-Authenticate and Retry-After, because they belong to
	// errors. If RenderError writes no status, the response has the error's
	// status. If it panics before it writes, the Service logs the panic and
	// answers as if RenderError were nil.
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

// withDefaults returns a copy of o with the defaults filled in. The error names
// the first invalid field.
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
	setDefault(&c.StreamInterval, 5*time.Second)
	setDefault(&c.ProxyHeader, "X-Forwarded-For")
	var err error
	if c.Devices, err = c.Devices.withDefaults(); err != nil {
		return c, err
	}
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
		return c, fmt.Errorf("tokenauth: Options.Name has %d bytes, must have at most %d bytes of UTF-8 without NUL", len(c.Name), maxNameSize)
	}
	for _, d := range []struct {
		field         string
		got, min, max time.Duration
	}{
		{"Lifetime", c.Lifetime, time.Minute, maxLifetime},
		{"MaxLifetime", cmp.Or(c.MaxLifetime, c.Lifetime), c.Lifetime, maxLifetime},
		{"IdleTimeout", cmp.Or(c.IdleTimeout, maxLifetime), 2 * time.Hour, maxLifetime},
		{"Timeout", c.Timeout, 10 * time.Millisecond, time.Minute},
		{"BodyTimeout", c.BodyTimeout, 100 * time.Millisecond, time.Minute},
		{"PurgeInterval", c.PurgeInterval, time.Second, 24 * time.Hour},
		{"StreamInterval", c.StreamInterval, 100 * time.Millisecond, time.Hour},
	} {
		if d.got < d.min || d.got > d.max {
			return c, fmt.Errorf("tokenauth: Options.%s is %v, must be from %v to %v", d.field, d.got, d.min, d.max)
		}
	}
	if c.Lifetime%time.Second != 0 {
		return c, fmt.Errorf("tokenauth: Options.Lifetime is %v, must be a whole number of seconds", c.Lifetime)
	}
	if c.MaxLifetime%time.Second != 0 {
		return c, fmt.Errorf("tokenauth: Options.MaxLifetime is %v, must be a whole number of seconds", c.MaxLifetime)
	}
	if len(c.Prefix) > accesstoken.MaxPrefix || strings.ContainsFunc(c.Prefix, notBase64URL) {
		return c, fmt.Errorf("tokenauth: Options.Prefix is %q, must be 1 to %d letters, digits, '-' and '_'", c.Prefix, accesstoken.MaxPrefix)
	}
	if c.Refresh, err = c.Refresh.withDefaults(c.Lifetime, c.Prefix); err != nil {
		return c, err
	}
	if c.Keys, err = c.Keys.withDefaults(c.Prefix, c.Refresh, c.Fallback != nil); err != nil {
		return c, err
	}
	if c.Refresh != nil && c.MaxLifetime != 0 {
		return c, errors.New("tokenauth: Options.Refresh and Options.MaxLifetime are both set, but are two ways to stay signed in: choose one")
	}
	if strings.ContainsFunc(c.Realm, notQuotable) {
		return c, fmt.Errorf("tokenauth: Options.Realm is %q, must be printable ASCII without quotes and backslashes", c.Realm)
	}
	for i, name := range c.ResponseAttributes {
		switch {
		case name == "" || !storable(name):
			return c, fmt.Errorf("tokenauth: Options.ResponseAttributes has the name %q, but a name must be non-empty UTF-8 without NUL", name)
		case wire.HasMember(slices.Concat(wire.TokenResponse(), c.Refresh.parameters()), name):
			return c, fmt.Errorf("tokenauth: Options.ResponseAttributes has %q, but every token response has a member of this name; decoders ignore the case of names", name)
		case wire.HasMember(c.ResponseAttributes[:i], name):
			return c, fmt.Errorf("tokenauth: Options.ResponseAttributes has %q twice; decoders ignore the case of names", name)
		}
	}
	if err := checkParameters(c.Parameters, slices.Concat(wire.TokenParameters(), c.Refresh.parameters(), c.Devices.parameters())); err != nil {
		return c, err
	}
	if c.Throttle, err = c.Throttle.withDefaults(); err != nil {
		return c, err
	}
	for _, proxy := range c.TrustedProxies {
		if !proxy.IsValid() {
			return c, fmt.Errorf("tokenauth: Options.TrustedProxies has a prefix that is not valid, such as the zero netip.Prefix")
		}
		if proxy.Addr().Is4In6() {
			return c, fmt.Errorf("tokenauth: Options.TrustedProxies has %v, an IPv4 prefix written as IPv6: write it as IPv4, because no address matches it", proxy)
		}
	}
	if slices.Contains(c.TrustedSockets, "") {
		return c, errors.New("tokenauth: Options.TrustedSockets has an empty name")
	}
	if !wire.IsToken(c.ProxyHeader) {
		return c, fmt.Errorf("tokenauth: Options.ProxyHeader is %q, must be the name of one header", c.ProxyHeader)
	}
	c.ProxyHeader = http.CanonicalHeaderKey(c.ProxyHeader)
	return c, nil
}

// tokensLiveOn reports whether a sign-in can outlive the expiry that one of its tokens
// had when it was read.
func (o *Options) tokensLiveOn() bool { return o.MaxLifetime != 0 || o.Refresh != nil }

const (
	maxNameSize = 256                  // bytes of Options.Name
	maxLifetime = 365 * 24 * time.Hour // the longest lifetime of a token
)

// mainModule returns the path of the module that the program is built from. It
// returns "" if the build does not record the path, or if the path is too long
// for Options.Name.
func mainModule() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || len(info.Main.Path) > maxNameSize || info.Main.Path == "command-line-arguments" {
		return ""
	}
	return info.Main.Path
}

// clone returns a copy that shares no slices with o.
func (o Options) clone() Options {
	o.ResponseAttributes = slices.Clone(o.ResponseAttributes)
	o.Parameters = slices.Clone(o.Parameters)
	o.Places = slices.Clone(o.Places)
	o.TrustedProxies = slices.Clone(o.TrustedProxies)
	o.TrustedSockets = slices.Clone(o.TrustedSockets)
	o.Observers = slices.Clone(o.Observers)
	if o.Devices != nil {
		devices := *o.Devices
		o.Devices = &devices
	}
	if o.Refresh != nil {
		refresh := *o.Refresh
		o.Refresh = &refresh
	}
	if o.Keys != nil {
		keys := *o.Keys
		keys.Imported = slices.Clone(keys.Imported)
		o.Keys = &keys
	}
	return o
}

func notQuotable(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }
