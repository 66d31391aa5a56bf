package matrix

import (
	"context"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// editor is the role of the user alice.
const editor = "Editor"

// passwordOf returns the password of a user. It occurs nowhere else, so that leaks are
// found.
func passwordOf(user string) string { return "Tr0ub4dor-" + user }

// A struckHost is the host's users, registry of clients and live check. Its striker
// can make calls fail. Every user name exists. The user erin is always disabled
// between the check of the password and [tokenauth.Rechecker.Recheck]. The user hugo
// is always disabled between [tokenauth.Reloader.Reload] and Recheck.
type struckHost struct {
	*striker
	clients map[string]tokenauth.Client
}

func principalOf(user string) tokenauth.Principal {
	p := tokenauth.Principal{UserID: user, UserName: user, Stamp: "1"}
	if user == "alice" {
		p.Roles = []string{editor}
	}
	return p
}

// Authenticate implements [tokenauth.Authenticator].
func (h *struckHost) Authenticate(ctx context.Context, c tokenauth.Credentials) (p tokenauth.Principal, err error) {
	trouble := h.call(ctx, "Authenticate", func() error {
		if c.Password.Reveal() != passwordOf(c.UserName) {
			err = tokenauth.ErrRejected
		}
		return nil
	})
	if trouble != nil {
		return p, trouble
	}
	return principalOf(c.UserName), err
}

// Recheck implements [tokenauth.Rechecker].
func (h *struckHost) Recheck(ctx context.Context, p tokenauth.Principal) error {
	return h.call(ctx, "Recheck", func() error {
		if p.UserID == "erin" || p.UserID == "hugo" {
			return tokenauth.ErrRejected
		}
		return nil
	})
}

// Reload implements [tokenauth.Reloader].
func (h *struckHost) Reload(ctx context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	var err error
	trouble := h.call(ctx, "Reload", func() error {
		if p.UserID == "erin" {
			err = tokenauth.ErrRejected
		}
		return nil
	})
	if trouble != nil {
		return tokenauth.Principal{}, trouble
	}
	return principalOf(p.UserID), err
}

// FindClient implements [tokenauth.ClientRegistry].
func (h *struckHost) FindClient(ctx context.Context, id string) (c tokenauth.Client, err error) {
	how := h.enter("FindClient")
	defer h.leave()
	if how == otherRow {
		return h.clients["desk"], nil
	}
	err = h.befall(ctx, how, "FindClient", func() error {
		var ok bool
		if c, ok = h.clients[id]; !ok {
			return tokenauth.ErrNotFound
		}
		return nil
	})
	return c, err
}

func (h *struckHost) liveCheck(ctx context.Context, _ tokenauth.Token) error {
	return h.call(ctx, "LiveCheck", func() error { return nil })
}
