package tokenauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// A requestClient is the client authentication of a request (RFC 6749 §2.3).
// Basic credentials may be form-encoded or not, so there may be two readings.
type requestClient struct {
	readings []clientCredentials
	// challenge is set if the client used Basic authentication. Other clients
	// get no challenge (§5.2), since a challenge makes a browser ask its user
	// for a name and a password.
	challenge bool
}

// readClient returns the client authentication of a request. A client
// authenticates with Basic authentication or in the body. If it uses Basic, the
// body may repeat the client_id, but must not have a client_secret.
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

// authenticate returns the client that sent the request. See
// [Service.authenticateClient] and [requestClient.challenged] for its errors.
func (c *requestClient) authenticate(ctx context.Context, s *Service) (*Client, error) {
	client, err := s.authenticateClient(ctx, c.readings)
	return client, c.challenged(s, err)
}

// challenged turns an [ErrInvalidClient] into a response with a challenge if
// the client used Basic authentication. It returns any other error as it is.
func (c *requestClient) challenged(s *Service, err error) error {
	if c.challenge && errors.Is(err, ErrInvalidClient) && !errors.Is(err, ErrRejected) {
		return s.challengeClient()
	}
	return err
}

// readings returns both readings of Basic credentials: as raw text, and as
// form-encoded text. If both are equal, or the text is not validly encoded, it
// returns only the raw reading. RFC 6749 §2.3.1 requires the encoding, but
// about half of the common clients omit it.
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
