package gormstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
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

// Clients is a ready registry of clients, kept beside the tokens, for
// tokenauth.Options.Clients. A call that disables or deletes a client ends its
// tokens in the same transaction. A method that names an unknown client returns
// tokenauth.ErrNotFound, wrapped. It is safe for concurrent use.
type Clients struct{ session }

var (
	_ tokenauth.ClientRegistry = (*Clients)(nil)
	_ tokenauth.ClientRevoker  = (*Store)(nil)
)

// Clients returns the registry of clients that is kept beside the tokens.
func (s *Store) Clients() *Clients { return &Clients{session{database: s.database}} }

// WithTx returns Clients that work within the host's transaction, as
// Users.WithTx does.
func (c *Clients) WithTx(tx *gorm.DB) *Clients { return &Clients{session{c.database, tx}} }

// Create adds a confidential client and returns its secret, which is stored
// nowhere. Secrets must be empty. Create returns ErrInvalid, wrapped with what is
// wrong, or ErrExists if the ID is taken.
func (c *Clients) Create(ctx context.Context, client tokenauth.Client) (tokenauth.Secret, error) {
	secret, digest := newSecret()
	if err := c.create(ctx, client, digest[:]); err != nil {
		return tokenauth.Secret{}, err
	}
	return secret, nil
}

// CreatePublic adds a client without a secret, as Create does: one that runs on
// the user's device and cannot keep a secret (RFC 6749 §2.1). It must not
// introspect.
func (c *Clients) CreatePublic(ctx context.Context, client tokenauth.Client) error {
	if introspectionOf(client.IntrospectsOwn, client.IntrospectsAll) != introspectsNone {
		return errPublicIntrospects
	}
	return c.create(ctx, client, nil) // not a nil []byte, which some SQLite drivers store as an empty blob
}

func (c *Clients) create(ctx context.Context, client tokenauth.Client, digest any) error {
	if client.ID == "" || len(client.ID) > 256 || !utf8.ValidString(client.ID) || strings.ContainsFunc(client.ID, unicode.IsControl) {
		return fmt.Errorf("%w: the ID of a client must have 1 to 256 bytes of UTF-8 without control characters", ErrInvalid)
	}
	if err := checkRoles(client.Roles); err != nil {
		return err
	}
	if len(client.Secrets) > 0 {
		return fmt.Errorf("%w: a new client must have no Secrets", ErrInvalid)
	}
	result, err := c.pool().ExecContext(ctx, c.sql(c.dialect.insertIgnore+` tokenauth_clients (id, secret, roles, introspection, disabled, stamp, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)`+c.dialect.onConflict),
		client.ID, digest, strings.Join(client.Roles, ","), introspectionOf(client.IntrospectsOwn, client.IntrospectsAll), client.Disabled, newStamp(), time.Now().Unix())
	if err != nil {
		return err
	}
	switch inserted, err := result.RowsAffected(); {
	case err != nil:
		return err
	case inserted == 0:
		return fmt.Errorf("%w: client %q", ErrExists, client.ID)
	}
	return nil
}

// newSecret returns a client's secret and its digest.
func newSecret() (tokenauth.Secret, tokenauth.Digest) {
	text := rand.Text() + rand.Text() // 260 random bits
	return tokenauth.NewSecret(text), sha256.Sum256([]byte(text))
}

// FindClient implements tokenauth.ClientRegistry.
func (c *Clients) FindClient(ctx context.Context, clientID string) (client tokenauth.Client, err error) {
	rows, err := c.pool().QueryContext(ctx, c.sql(`SELECT id, secret, old_secret, roles, introspection, disabled FROM tokenauth_clients WHERE id = ?`), clientID)
	if err != nil {
		return client, err
	}
	err = readRow(rows, func(scan func(...any) error) error {
		var secret, oldSecret sql.RawBytes
		var roles string
		var introspection int
		if err := scan(&client.ID, &secret, &oldSecret, &roles, &introspection, &client.Disabled); err != nil {
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
		switch introspection {
		case introspectsNone:
		case introspectsOwn:
			client.IntrospectsOwn = true
		case introspectsAll:
			client.IntrospectsAll = true
		default:
			return fmt.Errorf("gormstore: client %q has the unknown right %d to introspect", client.ID, introspection)
		}
		return decode(roles, []byte("{}"), &client.Roles, nil)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return tokenauth.Client{}, errClientNotFound
	}
	if err != nil {
		return tokenauth.Client{}, err
	}
	return client, nil
}

// RotateSecret gives a client a new secret and returns it. The secret before
// stays valid until DropOldSecret; the one before that does not. A public client,
// which has none, is tokenauth.ErrNotFound.
func (c *Clients) RotateSecret(ctx context.Context, clientID string) (tokenauth.Secret, error) {
	secret, digest := newSecret()
	// MariaDB and MySQL assign from left to right.
	err := c.change(ctx, errClientNotFound, `UPDATE tokenauth_clients SET old_secret = secret, secret = ? WHERE id = ? AND secret IS NOT NULL`, digest[:], clientID)
	if err != nil {
		return tokenauth.Secret{}, err
	}
	return secret, nil
}

// DropOldSecret ends the secret that the last rotation left valid. A client
// without one is tokenauth.ErrNotFound.
func (c *Clients) DropOldSecret(ctx context.Context, clientID string) error {
	return c.change(ctx, errClientNotFound, `UPDATE tokenauth_clients SET old_secret = NULL WHERE id = ? AND old_secret IS NOT NULL`, clientID)
}

// SetDisabled disables or enables a client, and ends all its tokens.
func (c *Clients) SetDisabled(ctx context.Context, clientID string, disabled bool) error {
	return c.end(ctx, clientID, `UPDATE tokenauth_clients SET disabled = ?, stamp = ? WHERE id = ?`, disabled, newStamp(), clientID)
}

// Delete removes a client and ends all its tokens.
func (c *Clients) Delete(ctx context.Context, clientID string) error {
	return c.end(ctx, clientID, `DELETE FROM tokenauth_clients WHERE id = ?`, clientID)
}

// end changes the client's row first and then ends the tokens. A sign-in that
// stores its token in between looks at the row again.
func (c *Clients) end(ctx context.Context, clientID, statement string, args ...any) error {
	key := tokenauth.SlotOf("", clientID).Client
	return c.changeAndEnd(ctx, errClientNotFound, statement, args, deleteTokensOfClient, key[:])
}

// RevokeClient implements tokenauth.ClientRevoker. It reads the whole table: an
// index by client would make sign-ins dearer for the sake of what is rare. The
// transaction is for its level, at which MariaDB and MySQL do not keep locked
// what they have read.
func (s *Store) RevokeClient(ctx context.Context, c tokenauth.ClientKey) error {
	return session{database: s.database}.transaction(ctx, func(pool gorm.ConnPool) error {
		_, err := pool.ExecContext(ctx, s.sql(deleteTokensOfClient), c[:])
		return err
	})
}
