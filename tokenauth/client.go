package tokenauth

import (
	"context"
	"crypto/sha256"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Client is a registered application (RFC 6749 §2).
type Client struct {
	// ID names the client: 1 to 256 bytes of UTF-8 without control characters. It
	// should have no colon: with one, the client authenticates in the body or by
	// form-encoded Basic authentication, and not by raw Basic (RFC 7617 §2).
	ID string
	// Secrets are the SHA-256 digests of the accepted secrets; two during
	// rotation. A secret has at least 128 random bits, as crypto/rand.Text makes
	// them, and so needs no slow hash. A client without secrets is public (RFC
	// 6749 §2.1) and must not send one.
	Secrets []Digest
	// Roles, if there are any, are those of which a user needs one to sign in
	// through the client.
	Roles []string
	// IntrospectsOwn lets the client introspect tokens that were issued to it,
	// if it has a secret (RFC 7662).
	IntrospectsOwn bool
	// IntrospectsAll lets the client introspect every token. It is for resource
	// servers, whose tokens were issued to the applications that call them.
	IntrospectsAll bool
	// Disabled clients are treated as unknown.
	Disabled bool
}

// A ClientRegistry finds clients. With one (Options.Clients), each sign-in names
// its client, and a user has a token at each client.
type ClientRegistry interface {
	// FindClient returns the client with that ID, or ErrNotFound, possibly
	// wrapped. Any other error becomes a 503. It reads what was last committed,
	// is safe for concurrent use, and returns soon after its context ends.
	//
	// A host that disables or deletes a client ends its tokens after it committed
	// that, by Service.RevokeClient or as a RevocationQueue. Before that, a sign-in
	// could still find the client and store a token.
	FindClient(ctx context.Context, clientID string) (Client, error)
}

// proves reports whether the secret is one of the client's.
func (c *Client) proves(secret Secret) bool {
	if c.Disabled {
		return false
	}
	if len(c.Secrets) == 0 {
		return secret.Reveal() == ""
	}
	if secret.Reveal() == "" {
		return false // even if a setting was left empty, and its digest kept
	}
	sum := Digest(sha256.Sum256([]byte(secret.Reveal())))
	proven := false
	for i := range c.Secrets { // all of them, in constant time
		proven = equal(&c.Secrets[i], &sum) || proven
	}
	return proven
}

// admits reports whether the user may sign in through the client. Nil admits
// everybody: there is no registry.
func (c *Client) admits(p *Principal) bool {
	return c == nil || len(c.Roles) == 0 || p.HasRole(c.Roles...)
}

// mayIntrospect reports whether the client may introspect any tokens at all.
func (c *Client) mayIntrospect() bool { return c.IntrospectsOwn || c.IntrospectsAll }

// clientCredentials are what a request says of its client.
type clientCredentials struct {
	id     string
	secret Secret
}

func validClientID(id string) bool {
	return id != "" && len(id) <= 256 && utf8.ValidString(id) && !strings.ContainsFunc(id, unicode.IsControl)
}
