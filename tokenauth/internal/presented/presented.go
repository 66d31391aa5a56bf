// Package presented finds the access token that a request presents.
package presented

import (
	"errors"
	"net/http"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth/internal/cookie"
)

var (
	// ErrNone means that the request has no access token.
	ErrNone = errors.New("presented: no access token")
	// ErrSeveral means that the request has several access tokens in the place
	// that decides.
	ErrSeveral = errors.New("presented: several access tokens")
)

// Places are the places where [Places.Find] looks for an access token.
// [Compile] makes them.
type Places struct {
	headers []header
	cookies []cookie.Attributes
	queries []string // names of parameters
	vary    string
}

// Vary returns the names of the headers on which the result of [Places.Find]
// depends, as the value of a Vary header. It is "" if there is none. A WebSocket
// handshake is never cached, so its header is not in the list.
func (p *Places) Vary() string { return p.vary }

// Find returns the access token of the request, and whether it was in a cookie.
// A token in a header comes before one in a cookie, and that before one in the
// query. The first place that the request has decides, also if it is empty.
func (p *Places) Find(r *http.Request) (accessToken string, inCookie bool, err error) {
	for i := range p.headers {
		h := &p.headers[i]
		if lines := r.Header[h.name]; len(lines) > 0 {
			if accessToken, err = h.find(lines); err != errOther {
				return accessToken, false, err
			}
		}
	}
	for _, c := range p.cookies {
		if value, n := c.Read(r); n > 0 {
			accessToken, err = only(value, n)
			return accessToken, true, err
		}
	}
	if len(p.queries) > 0 && r.URL.RawQuery != "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		query := r.URL.Query()
		for _, name := range p.queries {
			if values := query[name]; len(values) > 0 {
				accessToken, err = only(values[0], len(values))
				return accessToken, false, err
			}
		}
	}
	return "", false, ErrNone
}

// only returns the value, or an error if it is empty or one of several.
func only(value string, n int) (string, error) {
	switch {
	case n > 1:
		return "", ErrSeveral
	case value == "":
		return "", ErrNone
	}
	return value, nil
}

// errOther means that a header has another purpose in this request, and does
// not decide.
var errOther = errors.New("presented: not an access token")

// A header is a header that can have an access token, in at least one of the
// following forms.
type header struct {
	name        string   // canonical
	schemes     []string // the token is behind one of these
	whole       bool     // the token is the whole value
	subprotocol bool     // the token is one of the subprotocols
}

func (h *header) find(lines []string) (string, error) {
	if h.subprotocol {
		return subprotocol(lines)
	}
	if len(lines) > 1 {
		return "", ErrSeveral
	}
	line := lines[0]
	for _, scheme := range h.schemes {
		if len(line) < len(scheme) || !strings.EqualFold(line[:len(scheme)], scheme) {
			continue
		}
		// "BearerX" is another scheme.
		if rest := line[len(scheme):]; rest == "" || rest[0] == ' ' || rest[0] == '\t' {
			return single(rest)
		}
	}
	if !h.whole || h.name == "Authorization" && strings.ContainsAny(strings.Trim(line, " \t"), " \t") {
		return "", ErrNone // another scheme
	}
	return single(line)
}

// single returns the token in the text, which may have spaces around it. An
// empty token counts as missing, because some front ends wait for a 401 before
// they ask the user to sign in.
func single(text string) (string, error) {
	accessToken := strings.Trim(text, " ")
	switch {
	case strings.Trim(accessToken, "\t ") == "":
		return "", ErrNone
	case hasSeparator(accessToken):
		return "", ErrSeveral
	}
	return accessToken, nil
}

// hasSeparator reports whether s has a space, a tab or a comma. It is ten times
// as fast as [strings.ContainsAny].
func hasSeparator(s string) bool {
	return strings.IndexByte(s, ' ') >= 0 || strings.IndexByte(s, '\t') >= 0 || strings.IndexByte(s, ',') >= 0
}

// subprotocol returns the token in the list of subprotocols that a client of a
// WebSocket offers (RFC 6455 §4.1). It returns errOther if there is none.
func subprotocol(lines []string) (accessToken string, err error) {
	n := 0
	for _, line := range lines {
		for offer := range strings.SplitSeq(line, ",") {
			if value, ok := strings.CutPrefix(strings.Trim(offer, " \t"), "bearer."); ok {
				accessToken = value
				n++
			}
		}
	}
	if n == 0 {
		return "", errOther
	}
	return only(accessToken, n)
}
