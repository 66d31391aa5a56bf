package tokenauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// An Introspection is whose tokens a client may introspect.
type Introspection int

const (
	// IntrospectNone is the zero value: the client may not introspect.
	IntrospectNone Introspection = iota
	// IntrospectOwn lets the client introspect tokens that were issued to it.
	IntrospectOwn
	// IntrospectAll lets the client introspect every token. It is for resource
	// servers, whose tokens were issued to the applications that call them.
	IntrospectAll
)

// IntrospectionHandler returns the introspection endpoint (RFC 7662), by POST
// with an urlencoded body that has the token, for confidential clients that may
// introspect. It answers every method, 405 where that is the answer. What is
// not a good token, or none that the client may know of, is {"active":false} and
// nothing else. Trouble is 503, and never a false that is not true.
//
// It panics if Options.ResponseAttributes has the name of a member of its own:
// of two the reader might take the attribute for who the token stands for.
func (s *Service) IntrospectionHandler() http.Handler {
	s.mustNotBeNil()
	if err := s.options.checkIntrospection(); err != nil {
		panic(err)
	}
	return s.formHandler(func(w http.ResponseWriter, r *http.Request) ([]byte, error) {
		request, err := s.readTokenForm(w, r)
		if err == nil {
			err = s.mayIntrospect(request.client)
		}
		if err != nil {
			return nil, s.observeUnread(r, EventRefused, err)
		}
		return s.introspect(r, request)
	})
}

// mayIntrospect takes a public client for one that has not authenticated, as
// its ID is no secret. Without a registry nobody can.
func (s *Service) mayIntrospect(c *Client) error {
	switch {
	case c == nil || len(c.Secrets) == 0:
		return s.challengeClient()
	case c.Introspection != IntrospectOwn && c.Introspection != IntrospectAll:
		return unauthorizedClient("The client may not introspect tokens.")
	}
	return nil
}

func (s *Service) introspect(r *http.Request, request *tokenForm) ([]byte, error) {
	began := time.Now()
	t, err := s.validate(r.Context(), request.accessToken)
	e := Event{Kind: EventIntrospected, RemoteAddr: clientAddr(r, s.options.TrustedProxies), Duration: time.Since(began), Err: err}
	defer func() { s.observe(r.Context(), &e) }()
	var token Token
	if err == nil {
		token = t.copy()
		if request.client.Introspection != IntrospectAll && token.ClientID != request.client.ID {
			e.Err = errUnauthorizedClient
		} else {
			e.of(&token)
		}
	}
	if e.Err == nil {
		return s.introspectionResponse(&token), nil
	}
	e.Kind, e.Reason = reasonOf(e.Err, EventIntrospected)
	if errors.Is(e.Err, ErrInvalidToken) || errors.Is(e.Err, errUnauthorizedClient) {
		return inactive, nil
	}
	return nil, err
}

var inactive = []byte(`{"active":false}`)

// introspectionMembers are those that introspectionResponse has.
var introspectionMembers = []string{"active", "client_id", "username", "token_type", "exp", "iat", "sub", "role"}

func (o *Options) checkIntrospection() error {
	for _, name := range o.ResponseAttributes {
		if slices.Contains(introspectionMembers, name) {
			return fmt.Errorf("tokenauth: Options.ResponseAttributes has %q, which is a member of the answer of Endpoints.Introspection", name)
		}
	}
	return nil
}

// introspectionResponse has the members of RFC 7662 §2.2 that there are, and
// the role and the attributes of the token response.
func (s *Service) introspectionResponse(t *Token) []byte {
	var body jsonObject
	body.boolean("active", true)
	if t.ClientID != "" {
		body.text("client_id", t.ClientID)
	}
	body.text("username", t.Principal.UserName)
	body.text("token_type", "bearer")
	body.number("exp", t.ExpiresAt.Unix())
	body.number("iat", t.IssuedAt.Unix())
	body.text("sub", t.Principal.UserID)
	body.text("role", strings.Join(t.Principal.Roles, ","))
	s.responseAttributes(&body, t)
	return body.done()
}
