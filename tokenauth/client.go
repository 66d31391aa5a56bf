package tokenauth

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A Client is a registered application through which users sign in (RFC 6749
// §2). A [ClientRegistry] returns it.
type Client struct {
	// ID is the client_id: 1 to 256 bytes of UTF-8 without control characters.
	// Avoid a colon: in Basic authentication, the ID ends at the first colon
	// (RFC 7617 §2). A client whose ID has a colon must form-encode the ID, or
	// authenticate in the body.
	ID string
	// Secrets are the SHA-256 digests of the accepted secrets: usually one, and
	// two during rotation. A secret must have at least 128 random bits, like
	// the result of [crypto/rand.Text], because a fast hash does not protect a
	// weaker secret. A client without Secrets is public (RFC 6749 §2.1). The
	// Service refuses a request that sends a secret for a public client.
	Secrets []Digest
	// Roles lists the roles whose users may sign in through the client. A user
	// needs at least one of them. An empty list admits every user.
	Roles []string
	// IntrospectsOwn lets the client introspect tokens that were issued to it
	// (RFC 7662). The client must have a secret.
	IntrospectsOwn bool
	// IntrospectsAll lets the client introspect every token. It is for resource
	// servers, which receive tokens that were issued to other clients. The
	// client must have a secret.
	IntrospectsAll bool
	// Lifetime is how long a token is valid that a sign-in issues to the client,
	// in whole seconds. Zero means [Options.Lifetime]. The range is 1 minute to
	// 365 days, or to [Options.MaxLifetime] if that is set. With a Lifetime
	// outside of this range, sign-ins and refreshes fail with
	// [ErrInvalidPrincipal].
	Lifetime time.Duration
	// Disabled makes the Service treat the client as unknown.
	Disabled bool
}

// A ClientRegistry finds the registered clients. If [Options.Clients] has a
// registry, each sign-in must name a client, and a user has one token at each
// client, or on each of its devices ([Options.Devices]). A ClientRegistry must be
// safe for concurrent use.
type ClientRegistry interface {
	// FindClient returns the client with the given ID, or [ErrNotFound],
	// possibly wrapped. Any other error becomes a 503 response. It must return
	// the committed state, and not read from a stale replica or cache. It must
	// return soon after its context ends.
	//
	// To disable or delete a client, first commit the change, and then end the
	// client's tokens with [Service.RevokeClient] or through a
	// [RevocationQueue]. In the opposite order, a sign-in between the two steps
	// could still store a token.
	FindClient(ctx context.Context, clientID string) (Client, error)
}

// proves reports whether the secret is one of the client's secrets.
func (c *Client) proves(secret Secret) bool {
	if c.Disabled {
		return false
	}
	if len(c.Secrets) == 0 {
		return secret.Reveal() == ""
	}
	if secret.Reveal() == "" {
		return false // even if Secrets has the digest of "", for example from an empty setting
	}
	sum := Digest(sha256.Sum256([]byte(secret.Reveal())))
	proven := false
	for i := range c.Secrets { // compare all, in constant time
		proven = equal(&c.Secrets[i], &sum) || proven
	}
	return proven
}

// admits reports whether the user may sign in through the client
// ([Client.Roles]). A nil client, which means that there is no registry, admits
// every user.
func (c *Client) admits(p *Principal) bool {
	return c == nil || len(c.Roles) == 0 || p.HasRole(c.Roles...)
}

// mayIntrospect reports whether the client may introspect its own tokens or all
// tokens.
func (c *Client) mayIntrospect() bool { return c.IntrospectsOwn || c.IntrospectsAll }

// clientCredentials are the client ID and secret that a request presents.
type clientCredentials struct {
	id     string
	secret Secret
}

func validClientID(id string) bool {
	return id != "" && len(id) <= 256 && utf8.ValidString(id) && !strings.ContainsFunc(id, unicode.IsControl)
}
