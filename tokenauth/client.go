package tokenauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A Client is a registered application (RFC 6749 §2).
type Client struct {
	// ID names the client: 1 to 256 bytes of UTF-8 without control characters.
	ID string
	// Secrets are the digests of the secrets that are good, as NewClientSecret
	// makes them: two while one takes the other's place. A client without any
	// is public (RFC 6749 §2.1) and must not send one.
	Secrets []Digest
	// Roles, if there are any, are those of which a user must have one to sign
	// in through the client.
	Roles []string
	// Introspection is whose tokens the client may introspect, if it has a
	// secret; none if zero.
	Introspection Introspection
	// Disabled clients are as good as unknown.
	Disabled bool
}

// Clients is a registry of clients. With one (Options.Clients) each sign-in
// names its client, and a user has a token at each of them.
type Clients interface {
	// FindClient returns the client with that ID, or ErrNotFound, possibly
	// wrapped. Any other error means that it could not tell, and becomes a
	// 503. It reads what was last committed, is safe for concurrent use, and
	// returns soon after its context ends.
	//
	// Whoever disables or deletes a client in the registry has to end its
	// tokens, after that (Service.RevokeClient) or in the same transaction.
	FindClient(ctx context.Context, clientID string) (Client, error)
}

// A ClientRevoker is a Storage that can end all tokens of a client.
type ClientRevoker interface {
	// RevokeClient empties the slots of all users at the client. It may take
	// long, and what it has done when it returns an error stays done.
	RevokeClient(ctx context.Context, c ClientKey) error
}

// ErrInvalidClient is returned by SignIn, with a registry of clients, for a
// client that is unknown or disabled, or does not prove its secret.
var ErrInvalidClient = errors.New("tokenauth: invalid client")

// NewClientSecret returns a secret of 256 random bits for a client, and the
// digest to keep of it. The secret exists nowhere else.
func NewClientSecret() (Secret, Digest) {
	var random [32]byte
	rand.Read(random[:]) // never fails: it would end the process
	text := base64.RawURLEncoding.EncodeToString(random[:])
	return NewSecret(text), sha256.Sum256([]byte(text))
}

// ClientKeyOf returns the key of the client with that ID.
func ClientKeyOf(clientID string) ClientKey { return SlotOf("", clientID).Client }

// proves reports whether the client may call itself by its ID with that secret.
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
	// With 256 random bits behind it a digest needs no slow hash. All are
	// compared, in constant time.
	sum := Digest(sha256.Sum256([]byte(secret.Reveal())))
	good := false
	for i := range c.Secrets {
		good = equal(&c.Secrets[i], &sum) || good
	}
	return good
}

// admits reports whether the user may sign in through the client.
func (c *Client) admits(p *Principal) bool {
	return len(c.Roles) == 0 || p.HasRole(c.Roles...)
}

// authenticateClient finds the client that one of the readings of what was sent
// names and proves. ErrInvalidClient and ErrUnavailable come back.
func (s *Service) authenticateClient(ctx context.Context, readings ...clientCredentials) (*Client, error) {
	for _, reading := range readings {
		c, err := s.findClient(ctx, reading.id)
		if errors.Is(err, ErrInvalidClient) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if c.proves(reading.secret) {
			return c, nil
		}
	}
	return nil, ErrInvalidClient
}

func (s *Service) findClient(ctx context.Context, clientID string) (*Client, error) {
	if !validClientID(clientID) {
		return nil, ErrInvalidClient
	}
	timed := withTimeout(ctx, s.options.Timeout)
	defer timed.end()
	c, err := s.options.Clients.FindClient(timed, clientID)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, ErrInvalidClient
	case err != nil:
		return nil, hostFailed("Options.Clients", "ErrNotFound for an unknown client", err)
	case c.ID != clientID:
		// A registry that compares in a wider way would have two slots for
		// one client.
		return nil, ErrInvalidClient
	}
	return &c, nil
}

// recheckClient tells after the token was stored whether the client was
// disabled or changed meanwhile.
func (s *Service) recheckClient(ctx context.Context, c *Client, p *Principal) error {
	if c == nil {
		return nil
	}
	now, err := s.findClient(ctx, c.ID)
	if errors.Is(err, ErrInvalidClient) {
		return ErrRejected
	}
	if err != nil {
		return err
	}
	if now.Disabled || !now.admits(p) {
		return ErrRejected
	}
	return nil
}

// RevokeClient ends all tokens of a client, for after it was disabled or
// deleted: when it returns nil, no token issued before the call is good. It has
// no deadline but the context's. It returns ErrUnavailable if that did not work
// out or the storage is no ClientRevoker.
func (s *Service) RevokeClient(ctx context.Context, clientID string) error {
	r, ok := s.storage.(ClientRevoker)
	if !ok {
		return unavailable("revoking a client's tokens", fmt.Errorf("%T is no ClientRevoker; the stores of gormstore, redisstore and memory are", s.storage))
	}
	began := time.Now()
	err := r.RevokeClient(ctx, ClientKeyOf(clientID))
	if s.cache != nil {
		s.cache.flush()
	}
	if err != nil {
		err = unavailable("revoking a client's tokens", err)
	}
	s.observeRevoked(ctx, Event{Reason: ReasonClient, ClientID: clientID}, began, err)
	return err
}

// clientCredentials are what a request says of its client.
type clientCredentials struct {
	id     string
	secret Secret
}

func validClientID(id string) bool {
	return id != "" && len(id) <= 256 && utf8.ValidString(id) && !strings.ContainsFunc(id, unicode.IsControl)
}

// readings returns both ways to read Basic authentication of a client: as it
// is, and form-encoded inside, which RFC 6749 §2.3.1 asks for and half of the
// common clients do not do.
func (b *userPass) readings() []clientCredentials {
	raw := clientCredentials{b.user, NewSecret(b.pass)}
	id, err := url.QueryUnescape(b.user)
	if err != nil {
		return []clientCredentials{raw}
	}
	secret, err := url.QueryUnescape(b.pass)
	if err != nil || id == b.user && secret == b.pass {
		return []clientCredentials{raw}
	}
	return []clientCredentials{raw, {id, NewSecret(secret)}}
}
