package tokenauth

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Options are what a host may want otherwise. The zero value, or a nil
// *Options, is the advice.
type Options struct {
	// Lifetime is how long a token is good; zero means 14 days. It is in
	// whole seconds, from 1 minute to 365 days.
	Lifetime time.Duration

	// Prefix begins every access token, so that a secret scanner can find a
	// leaked one; empty means "tat_". It has 1 to 16 letters, digits, '-' and
	// '_'. Another prefix ends all the tokens that are out.
	Prefix string

	// Realm is named in challenges (RFC 9110 §11.5); empty means "api". It is
	// printable ASCII without quotes and backslashes.
	Realm string

	// ResponseAttributes names the attributes of the principal that the token
	// response shows behind its own members, in this order; none if empty.
	// A user who lacks one gets a response without it. Introspection shows them
	// too.
	ResponseAttributes []string

	// DisableGET refuses GET at the token endpoint with 405. Zero means that
	// GET works as POST does, which is the documented call.
	DisableGET bool

	// Timeout bounds each call of the storage and each look at the users; zero
	// means 2 seconds. What takes longer becomes a 503. From 10 milliseconds
	// to 1 minute.
	Timeout time.Duration

	// BodyTimeout is how long the body of a request for a token, for revocation
	// or for introspection may take to arrive;
	// zero means 5 seconds. From 100 milliseconds to 1 minute.
	BodyTimeout time.Duration

	// Cache keeps tokens in memory, for validations that ask no storage. It
	// needs a storage that is a Watcher, and Run. A token that ends anywhere
	// is refused here within milliseconds, and within CacheOptions.Lease even
	// if the network fails. Nil means that each validation asks the storage,
	// and a token that ends is refused from the next request on.
	Cache *CacheOptions

	// Clients is the registry of applications that may sign users in. Nil means
	// that there is one application, and what requests say of theirs is
	// ignored.
	Clients Clients

	// LiveCheck is asked on every validation whether the principal of a good
	// token may still have it: nil for yes, ErrRejected for no, any other
	// error becomes a 503. It has Timeout to answer. Nil means that a token is
	// good until it is revoked, replaced or expired.
	LiveCheck func(context.Context, Principal) error

	// Fallback is asked who is calling where a guard finds no access token of
	// this Service: a request without a bearer token, or with one that does not
	// begin with Prefix. It is for a host that has tokens or sessions of another
	// sort, which are to stay good until they expire. It returns the principal;
	// ErrRejected, possibly wrapped, for what is not good, and the request is
	// answered as it would be without; any other error becomes a 503. It has
	// Timeout to answer, and LiveCheck has its say after it.
	//
	// It is never asked about this Service's own tokens, good or not, nor about
	// those that the storage could not be asked about. The token of a request
	// that it vouched for (FromContext) has a Principal and nothing else; a
	// LiveCheck that compares Principal.Stamp has to know what the fallback sets
	// there. Nil means that there is nothing else.
	Fallback func(*http.Request) (Principal, error)

	// Throttle limits how fast passwords can be guessed. The zero value is the
	// advice.
	Throttle ThrottleOptions

	// TrustedProxies are the peers whose X-Forwarded-For is believed; none if
	// empty, and then a client's address is its peer's. What a router trusts,
	// such as Gin's SetTrustedProxies, does not count here.
	TrustedProxies []netip.Prefix

	// RenderRefusal writes the body of a refusal on a protected route in the
	// host's own format. The status is in the refusal and yet to be written;
	// the headers that the protocol asks for are set. Nil means JSON as
	// ASP.NET Web API clients know it.
	RenderRefusal func(http.ResponseWriter, *http.Request, *Refusal)

	// PurgeInterval is how often Run removes expired tokens; zero means every
	// hour. From 1 second to 24 hours.
	PurgeInterval time.Duration

	// Logger gets what a security log needs: tokens issued and revoked,
	// sign-ins refused, tokens that others replaced, trouble, panics. See the
	// table in the package's documentation. Nil means slog.Default().
	Logger *slog.Logger

	// Observers are told of each event, for metrics and traces; none if empty.
	Observers []Observer

	// Now tells the time; nil means the system's clock, held so that it never
	// runs backwards. For tests.
	Now func() time.Time
}

// withDefaults returns a copy with the zeros filled in, or an error that names
// the first field that is wrong.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	setDefault(&c.Lifetime, 14*24*time.Hour)
	setDefault(&c.Prefix, "tat_")
	setDefault(&c.Realm, "api")
	setDefault(&c.Timeout, 2*time.Second)
	setDefault(&c.BodyTimeout, 5*time.Second)
	setDefault(&c.PurgeInterval, time.Hour)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.ResponseAttributes = slices.Clone(c.ResponseAttributes)
	c.TrustedProxies = slices.Clone(c.TrustedProxies)
	c.Observers = slices.Clone(c.Observers)
	for _, observer := range c.Observers {
		if isNil(observer) {
			return c, fmt.Errorf("tokenauth: Options.Observers has a nil%s", ofType(observer))
		}
	}
	if c.Clients != nil && isNil(c.Clients) {
		return c, fmt.Errorf("tokenauth: Options.Clients is nil%s", ofType(c.Clients))
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
	if len(c.Prefix) > maxPrefixLength || strings.ContainsFunc(c.Prefix, notBase64URL) {
		return c, fmt.Errorf("tokenauth: Options.Prefix is %q, must be 1 to %d letters, digits, '-' and '_'", c.Prefix, maxPrefixLength)
	}
	if strings.ContainsFunc(c.Realm, notQuotable) {
		return c, fmt.Errorf("tokenauth: Options.Realm is %q, must be printable ASCII without quotes and backslashes", c.Realm)
	}
	for i, name := range c.ResponseAttributes {
		if name == "" || slices.Contains(responseMembers, name) || slices.Contains(c.ResponseAttributes[:i], name) {
			return c, fmt.Errorf("tokenauth: Options.ResponseAttributes has %q, which is empty, double, or a member of every response", name)
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
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func notBase64URL(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}

func notQuotable(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }
