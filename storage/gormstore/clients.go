package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth"
)

var (
	// ErrClientExists is returned by Clients.Create if the ID is taken.
	ErrClientExists = errors.New("gormstore: there is a client of that ID")
	// ErrClientNotFound is returned by the methods of Clients for an unknown
	// client.
	ErrClientNotFound = fmt.Errorf("gormstore: no such client: %w", tokenauth.ErrNotFound)
	// ErrClient is returned by Clients.Create and Clients.SetIntrospection,
	// wrapped with what is wrong, for values that cannot be stored.
	ErrClient = errors.New("gormstore: invalid client")
)

// Clients is a ready registry of clients, kept beside the tokens:
// tokenauth.Options.Clients. What disables or deletes a client ends its tokens
// in the same transaction. It is safe for concurrent use.
type Clients struct{ session }

var (
	_ tokenauth.Clients       = (*Clients)(nil)
	_ tokenauth.ClientRevoker = (*Store)(nil)
)

// Clients returns the registry of clients that is kept beside the tokens.
func (s *Store) Clients() *Clients { return &Clients{session{store: s}} }

// WithTx returns Clients that work within the host's transaction, as
// Users.WithTx does.
func (c *Clients) WithTx(tx *gorm.DB) *Clients { return &Clients{session{c.store, tx}} }

// A NewClient is a client to create.
type NewClient struct {
	// ID has 1 to 256 bytes of UTF-8 without control characters.
	ID string
	// Public clients have no secret: those that run on the user's device, and
	// could not keep one (RFC 6749 §2.1).
	Public bool
	// Roles, if there are any, are those of which a user must have one to sign
	// in through the client; non-empty and without commas.
	Roles []string
	// Introspection is whose tokens the client may introspect; none if zero.
	// A public client may have no other.
	Introspection tokenauth.Introspection
}

// Create adds a client and returns its secret, which is kept nowhere: empty for
// a public one. It returns ErrClient or ErrClientExists.
func (c *Clients) Create(ctx context.Context, n NewClient) (tokenauth.Secret, error) {
	if n.ID == "" || len(n.ID) > 256 || !utf8.ValidString(n.ID) || strings.ContainsFunc(n.ID, unicode.IsControl) {
		return tokenauth.Secret{}, fmt.Errorf("%w: the ID must have 1 to 256 bytes of UTF-8 without control characters", ErrClient)
	}
	if err := checkRoles(n.Roles); err != nil {
		return tokenauth.Secret{}, fmt.Errorf("%w: roles must be non-empty UTF-8 without comma or NUL", ErrClient)
	}
	if err := checkIntrospection(n.Introspection, n.Public); err != nil {
		return tokenauth.Secret{}, err
	}
	var secret tokenauth.Secret
	var digest any // NULL for a public client; some SQLite drivers store a nil []byte as an empty blob
	if !n.Public {
		s, d := tokenauth.NewClientSecret()
		secret, digest = s, d[:]
	}
	s := c.store
	result, err := c.pool().ExecContext(ctx, s.sql(s.dialect.insertIgnore+` tokenauth_clients (id, secret, roles, introspection, disabled, stamp, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)`+s.dialect.onConflict),
		n.ID, digest, strings.Join(n.Roles, ","), int(n.Introspection), false, newStamp(), time.Now().Unix())
	if err != nil {
		return tokenauth.Secret{}, err
	}
	switch inserted, err := result.RowsAffected(); {
	case err != nil:
		return tokenauth.Secret{}, err
	case inserted == 0:
		return tokenauth.Secret{}, ErrClientExists
	}
	return secret, nil
}

// FindClient implements tokenauth.Clients.
func (c *Clients) FindClient(ctx context.Context, clientID string) (client tokenauth.Client, err error) {
	rows, err := c.pool().QueryContext(ctx, c.store.sql(`SELECT id, secret, old_secret, roles, introspection, disabled FROM tokenauth_clients WHERE id = ?`), clientID)
	if err != nil {
		return client, err
	}
	err = readRow(rows, func(scan func(...any) error) error {
		var secret, oldSecret sql.RawBytes
		var roles string
		if err := scan(&client.ID, &secret, &oldSecret, &roles, &client.Introspection, &client.Disabled); err != nil {
			return err
		}
		for _, digest := range []sql.RawBytes{secret, oldSecret} {
			switch len(digest) {
			case 0:
			case len(tokenauth.Digest{}):
				client.Secrets = append(client.Secrets, tokenauth.Digest(digest))
			default:
				// Left out, the client would be public.
				return fmt.Errorf("gormstore: client %q has a secret of %d bytes", client.ID, len(digest))
			}
		}
		if !known(client.Introspection) {
			return fmt.Errorf("gormstore: client %q has the unknown right %d to introspect", client.ID, client.Introspection)
		}
		return decode(roles, []byte("{}"), &client.Roles, nil)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return tokenauth.Client{}, ErrClientNotFound
	}
	if err != nil {
		return tokenauth.Client{}, err
	}
	return client, nil
}

// RotateSecret gives a client another secret and returns it. The one before
// stays good until DropOldSecret, the one before that does not. It returns
// ErrClientNotFound also for a public client, which has none.
func (c *Clients) RotateSecret(ctx context.Context, clientID string) (tokenauth.Secret, error) {
	secret, digest := tokenauth.NewClientSecret()
	// MariaDB and MySQL assign from left to right.
	err := c.change(ctx, ErrClientNotFound, `UPDATE tokenauth_clients SET old_secret = secret, secret = ? WHERE id = ? AND secret IS NOT NULL`, digest[:], clientID)
	if err != nil {
		return tokenauth.Secret{}, err
	}
	return secret, nil
}

// DropOldSecret ends the secret that the last rotation left good. It returns
// ErrClientNotFound for an unknown client, and for one that has none such.
func (c *Clients) DropOldSecret(ctx context.Context, clientID string) error {
	return c.change(ctx, ErrClientNotFound, `UPDATE tokenauth_clients SET old_secret = NULL WHERE id = ? AND old_secret IS NOT NULL`, clientID)
}

// SetDisabled keeps a client from signing users in, or lets it again, and ends
// all its tokens. It returns ErrClientNotFound.
func (c *Clients) SetDisabled(ctx context.Context, clientID string, disabled bool) error {
	return c.end(ctx, clientID, `UPDATE tokenauth_clients SET disabled = ?, stamp = ? WHERE id = ?`, disabled, newStamp(), clientID)
}

// Delete removes a client and ends all its tokens. It returns
// ErrClientNotFound.
func (c *Clients) Delete(ctx context.Context, clientID string) error {
	return c.end(ctx, clientID, `DELETE FROM tokenauth_clients WHERE id = ?`, clientID)
}

// end changes the client's row first and then ends the tokens. A sign-in that
// stores its token in between looks at the row again.
func (c *Clients) end(ctx context.Context, clientID, statement string, args ...any) error {
	key := tokenauth.ClientKeyOf(clientID)
	return c.changeAndEnd(ctx, ErrClientNotFound, statement, args, deleteTokensOfClient, key[:])
}

const deleteTokensOfClient = `DELETE FROM tokenauth_tokens WHERE client_key = ?`

// RevokeClient implements tokenauth.ClientRevoker. It reads the whole table: an
// index by client would make sign-ins dearer for the sake of what is rare. The
// transaction is for its level, at which MariaDB and MySQL do not keep locked
// what they have read.
func (s *Store) RevokeClient(ctx context.Context, c tokenauth.ClientKey) error {
	return session{store: s}.transaction(ctx, func(pool gorm.ConnPool) error {
		_, err := pool.ExecContext(ctx, s.sql(deleteTokensOfClient), c[:])
		return err
	})
}
