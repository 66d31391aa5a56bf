package tokenauth

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Arguments for New that are not nil. No test calls their methods.
type (
	anyStorage       struct{ Storage }
	anyAuthenticator struct{ Authenticator }
)

func TestNewNamesTheInvalidOption(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, field string
		o           Options
	}{
		{"negative lifetime", "Lifetime", Options{Lifetime: -time.Hour}},
		{"short lifetime", "Lifetime", Options{Lifetime: time.Minute - time.Second}},
		{"long lifetime", "Lifetime", Options{Lifetime: 365*24*time.Hour + time.Second}},
		{"half seconds", "Lifetime", Options{Lifetime: time.Hour + time.Second/2}},
		{"long prefix", "Prefix", Options{Prefix: "abcdefghijklmnopq"}},
		{"prefix with a dot", "Prefix", Options{Prefix: "tat."}},
		{"prefix with a space", "Prefix", Options{Prefix: "tat "}},
		{"prefix with an umlaut", "Prefix", Options{Prefix: "tät_"}},
		{"prefix that is not UTF-8", "Prefix", Options{Prefix: "t\xff"}},
		{"realm with a quote", "Realm", Options{Realm: `a"b`}},
		{"realm with a backslash", "Realm", Options{Realm: `a\b`}},
		{"realm with a line break", "Realm", Options{Realm: "a\r\nb"}},
		{"realm with an umlaut", "Realm", Options{Realm: "ä"}},
		{"attribute without name", "ResponseAttributes", Options{ResponseAttributes: []string{"a", ""}}},
		{"attribute twice", "ResponseAttributes", Options{ResponseAttributes: []string{"a", "b", "a"}}},
		{"attribute twice, in different case", "ResponseAttributes", Options{ResponseAttributes: []string{"tenant", "b", "Tenant"}}},
		{"attribute twice under Unicode case folding", "ResponseAttributes", Options{ResponseAttributes: []string{"task", "taſ\u212a"}}},
		{"attribute that is not UTF-8", "ResponseAttributes", Options{ResponseAttributes: []string{"a\xff"}}},
		{"attribute with NUL", "ResponseAttributes", Options{ResponseAttributes: []string{"a\x00"}}},
		{"nine parameters", "Parameters", Options{Parameters: strings.Fields("a b c d e f g h i")}},
		{"parameter without name", "Parameters", Options{Parameters: []string{"otp", ""}}},
		{"parameter with a long name", "Parameters", Options{Parameters: []string{strings.Repeat("x", 65)}}},
		{"parameter with a space", "Parameters", Options{Parameters: []string{"one time"}}},
		{"parameter with an umlaut", "Parameters", Options{Parameters: []string{"ö"}}},
		{"parameter twice, in different case", "Parameters", Options{Parameters: []string{"otp", "OTP"}}},
		{"parameter of each request", "Parameters", Options{Parameters: []string{"Password"}}},
		{"parameter of the device", "Parameters", Options{Parameters: []string{"device_NAME"}, Devices: &DeviceOptions{Parameter: "Device"}}},
		{"short timeout", "Timeout", Options{Timeout: 10*time.Millisecond - 1}},
		{"long timeout", "Timeout", Options{Timeout: time.Minute + 1}},
		{"negative timeout", "Timeout", Options{Timeout: -1}},
		{"short body timeout", "BodyTimeout", Options{BodyTimeout: 100*time.Millisecond - 1}},
		{"long body timeout", "BodyTimeout", Options{BodyTimeout: time.Minute + 1}},
		{"short purge interval", "PurgeInterval", Options{PurgeInterval: time.Second - 1}},
		{"long purge interval", "PurgeInterval", Options{PurgeInterval: 24*time.Hour + 1}},
		{"IPv4 proxy as IPv6", "TrustedProxies", Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}}},
		{"zero proxy", "TrustedProxies", Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("::/0"), {}}}},
		{"empty socket", "TrustedSockets", Options{TrustedSockets: []string{""}}},
		{"two proxy headers", "ProxyHeader", Options{ProxyHeader: "X-Real-IP, Forwarded"}},
		{"invalid header name", "ProxyHeader", Options{ProxyHeader: "X-Real-IP:"}},
	}
	for _, member := range []string{
		"access_token", "token_type", "expires_in", "userName", "userId", "role", ".issued", ".expires",
		"Access_Token", "acceſſ_token", "to\u212aen_type", "Expires_In", "username", "USERID", "Role", ".Issued", ".EXPIREſ",
	} {
		tests = append(tests, struct {
			name, field string
			o           Options
		}{"attribute " + member, "ResponseAttributes", Options{ResponseAttributes: []string{member}}})
	}
	for _, test := range tests {
		s, err := New(anyStorage{}, anyAuthenticator{}, &test.o)
		if s != nil || err == nil || !strings.HasPrefix(err.Error(), "tokenauth: Options."+test.field+" ") {
			t.Errorf("%s: error %v, want one that names Options.%s", test.name, err, test.field)
		}
	}
}

func TestBoundsAreAccepted(t *testing.T) {
	t.Parallel()
	for _, o := range []*Options{
		nil,
		{},
		{Lifetime: time.Minute, Timeout: 10 * time.Millisecond, BodyTimeout: 100 * time.Millisecond, PurgeInterval: time.Second, Prefix: "t"},
		{Lifetime: 365 * 24 * time.Hour, Timeout: time.Minute, BodyTimeout: time.Minute, PurgeInterval: 24 * time.Hour, Prefix: "ABCxyz0123456-_-"},
		{Realm: " !#[]~", ResponseAttributes: []string{"roles", "issued", "sub", "a<b>", "ä"}, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("::/0")}},
		{Parameters: append(strings.Fields("a b c d e OTP recovery.code-_1"), strings.Repeat("x", 64))},
	} {
		if s, err := New(anyStorage{}, anyAuthenticator{}, o); s == nil || err != nil {
			t.Errorf("%+v: error %v, want none", o, err)
		}
	}
}

func TestZeroOptionsSelectTheDefaults(t *testing.T) {
	t.Parallel()
	var zero Options
	for name, o := range map[string]*Options{"nil": nil, "the zero value": &zero} {
		s, err := New(anyStorage{}, anyAuthenticator{}, o)
		if err != nil {
			t.Fatalf("%s: error %v, want none", name, err)
		}
		got := s.options
		switch {
		case got.Lifetime != 1209600*time.Second:
			t.Errorf("%s: Lifetime is %v", name, got.Lifetime)
		case got.Prefix != "tat_":
			t.Errorf("%s: Prefix is %q", name, got.Prefix)
		case got.Realm != "api":
			t.Errorf("%s: Realm is %q", name, got.Realm)
		case got.Timeout != 2*time.Second || got.BodyTimeout != 5*time.Second || got.PurgeInterval != time.Hour:
			t.Errorf("%s: Timeout, BodyTimeout, PurgeInterval are %v, %v, %v", name, got.Timeout, got.BodyTimeout, got.PurgeInterval)
		case got.Logger != slog.Default():
			t.Errorf("%s: Logger is not slog's default", name)
		case got.DisableGET || len(got.ResponseAttributes) > 0 || len(got.TrustedProxies) > 0 || got.LiveCheck != nil || got.RenderError != nil:
			t.Errorf("%s: an optional feature is enabled by default: %+v", name, got)
		}
		if age := time.Since(got.Now()).Abs(); age > time.Minute {
			t.Errorf("%s: Now differs from time.Now by %v", name, age)
		}
	}
	if zero.Lifetime != 0 || zero.Prefix != "" || zero.Logger != nil || zero.Now != nil {
		t.Errorf("New changed the host's Options: %+v", zero)
	}
}

// A host may reuse one Options for several Services.
func TestOptionsAreCopied(t *testing.T) {
	t.Parallel()
	proxy := netip.MustParsePrefix("10.0.0.0/8")
	o := &Options{
		Lifetime: time.Hour, Prefix: "one_", Realm: "one",
		ResponseAttributes: []string{"tenant"}, TrustedProxies: []netip.Prefix{proxy}, Parameters: []string{"otp"},
	}
	s, err := New(anyStorage{}, anyAuthenticator{}, o)
	if err != nil {
		t.Fatal(err)
	}
	o.ResponseAttributes[0], o.TrustedProxies[0], o.Parameters[0] = "access_token", netip.Prefix{}, "password"
	o.Lifetime, o.Prefix, o.Realm = -1, "two.", `"`
	o.DisableGET = true
	o.LiveCheck = func(context.Context, Token) error { return ErrRejected }
	o.RenderError = func(http.ResponseWriter, *http.Request, *ErrorResponse) {}
	got := s.options
	if got.ResponseAttributes[0] != "tenant" || got.Parameters[0] != "otp" || got.TrustedProxies[0] != proxy || got.Lifetime != time.Hour ||
		got.Prefix != "one_" || got.Realm != "one" || got.DisableGET || got.LiveCheck != nil || got.RenderError != nil {
		t.Errorf("a later change of the host's Options changed the Service: %+v", got)
	}
}
