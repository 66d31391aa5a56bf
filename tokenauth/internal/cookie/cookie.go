// Package cookie writes and reads the cookie of a place.Cookie (RFC 6265).
package cookie

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// Attributes are the fields of a place.Cookie, in the same order.
type Attributes struct {
	Name         string
	Domain, Path string
	SameSite     http.SameSite
}

// Check returns an error that names the first invalid field.
func (a Attributes) Check() error {
	switch {
	case !wire.IsToken(a.Name):
		return fmt.Errorf("Cookie.Name is %q, must be a token (RFC 9110 §5.6.2)", a.Name)
	case strings.HasPrefix(a.Name, "__"):
		return fmt.Errorf(`Cookie.Name is %q, must not begin with "__": it gets the prefix __Host- or __Secure-`, a.Name)
	case (&http.Cookie{Name: "n", Domain: a.Domain}).Valid() != nil:
		return fmt.Errorf("Cookie.Domain is %q, must be a domain name or empty", a.Domain)
	case a.Path != "" && a.Path[0] != '/', (&http.Cookie{Name: "n", Path: a.Path}).Valid() != nil:
		return fmt.Errorf("Cookie.Path is %q, must begin with a slash and have no semicolon, or be empty", a.Path)
	}
	switch a.SameSite {
	case 0, http.SameSiteLaxMode, http.SameSiteStrictMode, http.SameSiteNoneMode:
		return nil
	}
	return fmt.Errorf("Cookie.SameSite is %d, must be Lax, Strict, None or zero", a.SameSite)
}

// Prefixed returns the name with a prefix that makes browsers enforce the
// attributes (RFC 6265bis §4.1.3). A page of another host below the same domain
// cannot set a cookie whose name begins with __Host-.
func (a Attributes) Prefixed() string {
	if a.Domain == "" && cmp.Or(a.Path, "/") == "/" {
		return "__Host-" + a.Name
	}
	return "__Secure-" + a.Name
}

// Write adds the cookie to the response to r. MaxAge is as in [http.Cookie]. It
// panics if [Attributes.Check] returns an error.
//
// For a request over plain HTTP on this machine, the cookie has no Secure and no
// prefix, because some browsers ignore a Secure cookie there. It then has no
// Domain either, because the Domain would be that of another host. If the
// request has the cookie with the prefix, as after an earlier visit over TLS,
// Write deletes that one, which [Attributes.Read] would prefer.
func (a Attributes) Write(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	if err := a.Check(); err != nil {
		panic("tokenauth/place: " + err.Error())
	}
	c := &http.Cookie{
		Name: a.Prefixed(), Value: value, Domain: a.Domain, Path: cmp.Or(a.Path, "/"),
		MaxAge: maxAge, Secure: true, HttpOnly: true, SameSite: cmp.Or(a.SameSite, http.SameSiteLaxMode),
	}
	if isLocal(r) {
		if _, n := find(r.Header["Cookie"], c.Name); n > 0 {
			stale := *c
			stale.Value, stale.MaxAge = "", -1
			defer http.SetCookie(w, &stale)
		}
		c.Name, c.Domain, c.Secure = a.Name, "", false
		if c.SameSite == http.SameSiteNoneMode {
			c.SameSite = http.SameSiteLaxMode // without Secure, browsers ignore None
		}
	}
	http.SetCookie(w, c)
	w.Header().Set("Cache-Control", "no-store")
}

// Read returns the value of the cookie in the request, and the number of
// cookies of that name. It looks for the name with the prefix first. The name
// without it counts only for a request over plain HTTP on this machine.
func (a Attributes) Read(r *http.Request) (value string, n int) {
	lines := r.Header["Cookie"]
	if len(lines) == 0 {
		return "", 0
	}
	if value, n = find(lines, a.Prefixed()); n == 0 && isLocal(r) {
		value, n = find(lines, a.Name)
	}
	return value, n
}

// find returns the value of the last cookie of this name, and the number of
// cookies that have it (RFC 6265 §4.2.1). Unlike [http.Request.CookiesNamed], it
// does not skip a cookie whose value has characters that are not allowed.
func find(lines []string, name string) (value string, n int) {
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			key, text, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if strings.TrimRight(key, " \t") == name {
				value = text
				n++
			}
		}
	}
	return value, n
}
