package tokenauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// A requestClient is what a request says of its client (RFC 6749 §2.3).
type requestClient struct {
	readings []clientCredentials
	// challenge says that the client used Basic authentication. Only such a client
	// gets a challenge (§5.2): for that, a browser asks its user for a name and a
	// password.
	challenge bool
}

// readClient reads the client of a request, which names it by Basic
// authentication or in the body, and not by both.
func readClient(f *formRequest) (requestClient, error) {
	inBody := clientCredentials{f.form["client_id"], NewSecret(f.form["client_secret"])}
	basic := f.client
	if basic == nil {
		return requestClient{readings: []clientCredentials{inBody}}, nil
	}
	readings := basic.readings()
	named := slices.ContainsFunc(readings, func(reading clientCredentials) bool { return reading.id == inBody.id })
	if inBody.secret.Reveal() != "" || inBody.id != "" && !named {
		return requestClient{}, invalidRequest(http.StatusBadRequest, wire.ClientTwice)
	}
	return requestClient{readings: readings, challenge: true}, nil
}

// authenticate is Service.authenticateClient, with a challenge if it is due.
func (c *requestClient) authenticate(ctx context.Context, s *Service) (*Client, error) {
	client, err := s.authenticateClient(ctx, c.readings)
	return client, c.challenged(s, err)
}

// challenged adds the challenge to an ErrInvalidClient, if it is due.
func (c *requestClient) challenged(s *Service, err error) error {
	if c.challenge && errors.Is(err, ErrInvalidClient) && !errors.Is(err, ErrRejected) {
		return s.challengeClient()
	}
	return err
}

// readings returns both ways to read Basic authentication of a client: as it
// is, and form-encoded inside. RFC 6749 §2.3.1 asks for the latter, and half of
// the common clients do not do it.
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
