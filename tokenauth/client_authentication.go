package tokenauth

import (
	"context"
	"errors"
	"strings"
)

// authenticateClient returns the client that made a request. Basic credentials
// may be form-encoded or not, so there may be two readings of the ID and
// secret. authenticateClient returns the client of the first valid reading. It
// returns nil if there is no registry ([Options.Clients]), [ErrInvalidClient]
// if no reading is valid, and [ErrUnavailable] if the registry failed.
func (s *Service) authenticateClient(ctx context.Context, readings []clientCredentials) (*Client, error) {
	if s.options.Clients == nil {
		return nil, nil
	}
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
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return nil, unavailable("finding a client", err)
	}
	defer cancel()
	defer calling("Options.Clients")
	c, err := s.options.Clients.FindClient(call, clientID)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, ErrInvalidClient
	case err != nil:
		return nil, hostFailed("Options.Clients", "ErrNotFound for an unknown client", err)
	case c.ID != clientID:
		// The registry found the client by a different spelling of its ID, for
		// example because it ignores case. If the Service accepted that
		// spelling, the client would have several IDs, and each user several
		// slots at the client.
		return nil, ErrInvalidClient
	}
	if strings.Contains(clientID, ":") {
		s.colon.Do(func() {
			s.options.Logger.WarnContext(ctx, "tokenauth: a client ID has a colon, where Basic authentication would end the ID (RFC 7617 §2): the client must form-encode the ID, or authenticate in the body", "client_id", clientID)
		})
	}
	return &c, nil
}
