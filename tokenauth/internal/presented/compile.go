package presented

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth/internal/cookie"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

// Compile returns the listed places. Nil means the Authorization header with the
// scheme Bearer. The error names the first place that is invalid, or that is
// listed twice.
func Compile(places []place.Place) (*Places, error) {
	if places == nil {
		places = []place.Place{place.Scheme("Bearer")}
	}
	if len(places) == 0 {
		return nil, errors.New("tokenauth: Options.Places is empty but not nil: list at least one place")
	}
	p := new(Places)
	for i, at := range places {
		if err := p.add(at); err != nil {
			return nil, fmt.Errorf("tokenauth: Options.Places[%d] is a %T%w", i, at, err)
		}
	}
	var vary []string
	for _, h := range p.headers {
		if !h.subprotocol {
			vary = append(vary, h.name)
		}
	}
	if len(p.cookies) > 0 {
		vary = append(vary, "Cookie")
	}
	p.vary = strings.Join(vary, ", ")
	return p, nil
}

// add adds a place. The error follows the name of the place's type.
func (p *Places) add(at place.Place) error {
	switch at := at.(type) {
	case place.Scheme:
		if !wire.IsToken(string(at)) {
			return fmt.Errorf(" %q, must be the name of one scheme", at)
		}
		h := p.header("Authorization")
		if slices.ContainsFunc(h.schemes, func(s string) bool { return strings.EqualFold(s, string(at)) }) {
			return fmt.Errorf(" %q, which is listed twice", at)
		}
		h.schemes = append(h.schemes, string(at))
	case place.Header:
		name := http.CanonicalHeaderKey(string(at))
		switch {
		case !wire.IsToken(name):
			return fmt.Errorf(" %q, must be the name of one header", at)
		case name == "Cookie", name == webSocketProtocol:
			return fmt.Errorf(" %q, use a place.Cookie or a place.WebSocket", at)
		}
		h := p.header(name)
		if h.whole {
			return fmt.Errorf(" %q, which is listed twice", at)
		}
		h.whole = true
	case place.WebSocket:
		h := p.header(webSocketProtocol)
		if h.subprotocol {
			return errors.New(", which is listed twice")
		}
		h.subprotocol = true
	case place.Cookie:
		if err := cookie.Attributes(at).Check(); err != nil {
			return fmt.Errorf(" that is invalid: %w", err)
		}
		if slices.ContainsFunc(p.cookies, func(c cookie.Attributes) bool { return c.Name == at.Name }) {
			return fmt.Errorf(" with the Name %q, which is listed twice", at.Name)
		}
		p.cookies = append(p.cookies, cookie.Attributes(at))
	case place.InsecureQuery:
		if at == "" {
			return errors.New(` "", must be the name of a parameter`)
		}
		if slices.Contains(p.queries, string(at)) {
			return fmt.Errorf(" %q, which is listed twice", at)
		}
		p.queries = append(p.queries, string(at))
	default: // nil, a pointer, or a type that embeds a place
		return errors.New(", must be a place.Scheme, Header, WebSocket, Cookie or InsecureQuery")
	}
	return nil
}

const webSocketProtocol = "Sec-Websocket-Protocol" // as http.CanonicalHeaderKey spells it

// header returns the entry of a header. It adds the entry if there is none.
func (p *Places) header(name string) *header {
	i := slices.IndexFunc(p.headers, func(h header) bool { return h.name == name })
	if i < 0 {
		i = len(p.headers)
		p.headers = append(p.headers, header{name: name})
	}
	return &p.headers[i]
}
