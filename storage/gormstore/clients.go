package gormstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Clients is a ready-made table of OAuth clients, for [tokenauth.Options.Clients].
// It is stored in the same database as the tokens. It is safe for concurrent use.
//
//   - When [Clients.SetDisabled] or [Clients.Delete] returns nil, all of the client's
//     tokens in this database have ended. The same holds for [Clients.Update] if it
//     ends tokens. This is different in your own transaction: see [Clients.WithTx].
//     These methods also return an error if they changed the client but could not end
//     all its tokens.
//   - While [tokenauth.Service.Run] runs, it ends the client's tokens within 3 seconds
//     of the commit: those in another storage, such as Redis, and any that remain in
//     this database. The other storage must be a [tokenauth.BulkRevoker].
//   - A type that wraps Clients must also provide the methods of
//     [tokenauth.RevocationQueue] that Clients has, because Run calls them.
//   - Methods return [tokenauth.ErrNotFound], wrapped, for an unknown client.
type Clients struct{ session }

var _ tokenauth.ClientRegistry = (*Clients)(nil)

// Clients returns the clients table in the store's database.
func (s *Store) Clients() *Clients { return &Clients{s.session()} }

// WithTx returns Clients whose changes are part of the transaction tx. The rules for
// tx are the same as for [Users.WithTx]. While [tokenauth.Service.Run] runs, the
// tokens of a changed client end within 3 seconds of the commit. If your program does
// not call Run, call [tokenauth.Service.RevokeClient] after the commit.
//
// Until the commit, users can still sign in at the client. On MariaDB and MySQL the
// transaction does not delete the client's tokens, because the deletion would lock the
// tokens of all clients. So on these databases all of the client's tokens stay valid at
// least until the commit.
func (c *Clients) WithTx(tx *gorm.DB) *Clients { return &Clients{session{c.database, tx}} }

// Create adds a confidential client and returns its new secret. Save the secret,
// because the table stores only its digest. client.Secrets must be empty.
//
// If client is not valid, Create returns [ErrInvalid], wrapped with the reason. If
// the ID is taken, it returns [ErrExists], wrapped. Create logs a warning to
// [slog.Default] if the ID contains a colon (see [tokenauth.Client]).
func (c *Clients) Create(ctx context.Context, client tokenauth.Client) (tokenauth.Secret, error) {
	if len(client.Secrets) > 0 {
		return tokenauth.Secret{}, errClientSecrets
	}
	secret, digest := newSecret()
	client.Secrets = []tokenauth.Digest{digest}
	if err := c.create(ctx, client); err != nil {
		return tokenauth.Secret{}, err
	}
	return secret, nil
}

// CreatePublic adds a public client: one that runs on the user's device and cannot
// keep a secret (RFC 6749 §2.1). A public client must not introspect. CreatePublic
// returns the same errors as [Clients.Create].
func (c *Clients) CreatePublic(ctx context.Context, client tokenauth.Client) error {
	if len(client.Secrets) > 0 {
		return errClientSecrets
	}
	return c.create(ctx, client)
}

// Import adds a client with the digests of its secrets, for example from another
// registry: one digest in client.Secrets, or two during a rotation, of which the first
// is that of the newer secret. Without Secrets the client is public. Import returns
// the same errors as [Clients.Create].
func (c *Clients) Import(ctx context.Context, client tokenauth.Client) error {
	if len(client.Secrets) > 2 || slices.Contains(client.Secrets, tokenauth.Digest{}) {
		return fmt.Errorf("%w: a client must have at most 2 Secrets, and none of them may be zero", ErrInvalid)
	}
	return c.create(ctx, client)
}

var errClientSecrets = fmt.Errorf("%w: a new client must have no Secrets; Import accepts them", ErrInvalid)

func (c *Clients) create(ctx context.Context, client tokenauth.Client) error {
	if client.ID == "" || len(client.ID) > 256 || !utf8.ValidString(client.ID) || strings.ContainsFunc(client.ID, unicode.IsControl) {
		return fmt.Errorf("%w: a client ID must have 1 to 256 bytes of UTF-8 without control characters", ErrInvalid)
	}
	roles, introspection, err := c.encode(client)
	if err != nil {
		return err
	}
	var digests [2]any // nil, and not a nil []byte, which some SQLite drivers store as an empty blob
	for i := range client.Secrets {
		digests[i] = client.Secrets[i][:]
	}
	var inserted int64
	err = c.transaction(ctx, func(pool gorm.ConnPool) error {
		result, err := pool.ExecContext(ctx, c.sql(c.dialect.insertIgnore+` tokenauth_clients (id, secret, old_secret, roles, introspection, lifetime, disabled, stamp, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`+c.dialect.onConflict),
			client.ID, digests[0], digests[1], roles, introspection, int64(client.Lifetime/time.Second), client.Disabled, newStamp(), time.Now().Unix())
		if err == nil {
			inserted, err = result.RowsAffected()
		}
		return err
	})
	if err != nil {
		return err
	}
	if inserted == 0 {
		return fmt.Errorf("%w: client %q", ErrExists, client.ID)
	}
	if strings.Contains(client.ID, ":") {
		slog.WarnContext(ctx, "gormstore: the ID of the new client has a colon, which ends the ID in Basic authentication (RFC 7617 §2): the client must form-encode its ID, or authenticate in the request body", "client_id", client.ID)
	}
	return nil
}

// encode encodes the roles and the right to introspect for their columns. It returns
// [ErrInvalid], wrapped, if the client must not have them, or if the lifetime is out of
// range.
func (c *Clients) encode(client tokenauth.Client) (roles string, introspection int, err error) {
	if err := checkRoles(client.Roles); err != nil {
		return "", 0, err
	}
	if l := client.Lifetime; l != 0 && (l < time.Minute || l > 365*24*time.Hour || l%time.Second != 0) {
		return "", 0, fmt.Errorf("%w: the Lifetime of a client is %v, must be a whole number of seconds from 1 minute to 365 days, or 0", ErrInvalid, l)
	}
	introspection = introspectionOf(client.IntrospectsOwn, client.IntrospectsAll)
	if introspection != introspectsNone && len(client.Secrets) == 0 {
		return "", 0, errPublicIntrospects
	}
	roles = strings.Join(client.Roles, ",")
	return roles, introspection, c.dialect.fits("the list of roles", roles, maxText)
}

// newSecret returns a new client secret and its SHA-256 digest.
func newSecret() (tokenauth.Secret, tokenauth.Digest) {
	text := rand.Text() + rand.Text() // 260 random bits
	return tokenauth.NewSecret(text), sha256.Sum256([]byte(text))
}

// clientColumns are the columns that scanClient scans, in this order.
const clientColumns = `id, secret, old_secret, roles, introspection, lifetime, disabled`

func scanClient(scan func(...any) error) (client tokenauth.Client, err error) {
	var secret, oldSecret sql.RawBytes
	var roles string
	var introspection int
	var lifetime int64
	if err := scan(&client.ID, &secret, &oldSecret, &roles, &introspection, &lifetime, &client.Disabled); err != nil {
		return client, err
	}
	client.Lifetime = time.Duration(lifetime) * time.Second
	if lifetime < 0 || client.Lifetime/time.Second != time.Duration(lifetime) {
		return client, fmt.Errorf("gormstore: client %q: invalid value %d in column lifetime", client.ID, lifetime)
	}
	for _, digest := range []sql.RawBytes{secret, oldSecret} {
		switch len(digest) {
		case 0:
		case len(tokenauth.Digest{}):
			client.Secrets = append(client.Secrets, tokenauth.Digest(digest))
		default:
			// If this digest were ignored, the client could become a public client.
			return client, fmt.Errorf("gormstore: client %q: the digest of its secret has %d bytes, want 32", client.ID, len(digest))
		}
	}
	switch introspection {
	case introspectsNone:
	case introspectsOwn:
		client.IntrospectsOwn = true
	case introspectsAll:
		client.IntrospectsAll = true
	default:
		return client, fmt.Errorf("gormstore: client %q: unknown value %d in column introspection", client.ID, introspection)
	}
	return client, decode(roles, []byte("{}"), &client.Roles, nil)
}

// FindClient implements [tokenauth.ClientRegistry].
func (c *Clients) FindClient(ctx context.Context, clientID string) (tokenauth.Client, error) {
	return c.find(ctx, c.pool(), "", clientID)
}

// find returns a client. The parameter lock is as for [Users.read].
func (c *Clients) find(ctx context.Context, pool gorm.ConnPool, lock, clientID string) (client tokenauth.Client, err error) {
	rows, err := pool.QueryContext(ctx, c.sql(`SELECT `+clientColumns+` FROM tokenauth_clients WHERE id = ?`+c.dialect.primary+lock), clientID)
	if err != nil {
		return client, err
	}
	err = readRow(rows, func(scan func(...any) error) (err error) {
		client, err = scanClient(scan)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = errClientNotFound
	}
	if err != nil {
		return tokenauth.Client{}, err
	}
	return client, nil
}

// RotateSecret gives a client a new secret and returns it. The previous secret stays
// valid until you call [Clients.DropOldSecret]. Any older secret becomes invalid. For a
// public client, which has no secret, RotateSecret returns [tokenauth.ErrNotFound].
func (c *Clients) RotateSecret(ctx context.Context, clientID string) (tokenauth.Secret, error) {
	secret, digest := newSecret()
	// MariaDB and MySQL evaluate assignments from left to right, so old_secret comes
	// first.
	err := c.change(ctx, errClientNotFound, `UPDATE tokenauth_clients SET old_secret = secret, secret = ? WHERE id = ? AND secret IS NOT NULL`, digest[:], clientID)
	if err != nil {
		return tokenauth.Secret{}, err
	}
	return secret, nil
}

// DropOldSecret invalidates the previous secret, which [Clients.RotateSecret] left
// valid. It returns [tokenauth.ErrNotFound] if the client does not exist or has no
// previous secret.
func (c *Clients) DropOldSecret(ctx context.Context, clientID string) error {
	return c.change(ctx, errClientNotFound, `UPDATE tokenauth_clients SET old_secret = NULL WHERE id = ? AND old_secret IS NOT NULL`, clientID)
}

// SetDisabled disables or enables a client, and ends all its tokens. Enabling a
// disabled client ends tokens in this database only, because disabling the client
// already ended those in other storages.
//
// If a client is disabled and enabled again, a token that is issued to it in the next
// 10 seconds may be ended together with the client's earlier tokens.
func (c *Clients) SetDisabled(ctx context.Context, clientID string, disabled bool) error {
	if !disabled {
		if enabled, err := c.enable(ctx, clientID); enabled || err != nil {
			return err
		}
	}
	return c.end(ctx, clientID, `UPDATE tokenauth_clients SET disabled = ?, stamp = ? WHERE id = ?`, disabled, newStamp(), clientID)
}

// enable enables the client if it is disabled, and reports whether it was disabled.
//
// It queues no revocation, because the client's tokens already ended when the client
// was disabled. Besides, a revocation after the commit could end a token that was
// issued after the commit.
func (c *Clients) enable(ctx context.Context, clientID string) (bool, error) {
	e := c.ending(clientID, `UPDATE tokenauth_clients SET disabled = ?, stamp = ? WHERE id = ? AND disabled = ?`, false, newStamp(), clientID, true)
	e.kind = 0
	err := c.changeAndEnd(ctx, e)
	if errors.Is(err, errClientNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Delete removes a client and ends all its tokens.
func (c *Clients) Delete(ctx context.Context, clientID string) error {
	return c.end(ctx, clientID, `DELETE FROM tokenauth_clients WHERE id = ?`, clientID)
}

// end changes the client's row, deletes the client's tokens, commits, and then deletes
// the client's tokens again.
//
// A sign-in stores its token and then reads the client again, without a lock. If the
// sign-in still finds the client enabled, it read the client before the commit, and
// stored the token even earlier. The first deletion may have missed that token. The
// second deletion begins after the commit, so it finds the token.
func (c *Clients) end(ctx context.Context, clientID, statement string, args ...any) error {
	e := c.ending(clientID, statement, args...)
	return c.ended(ctx, e, c.changeAndEnd(ctx, e))
}

// ended is called with the result of the transaction that ended the client's tokens.
// It deletes the tokens again.
func (c *Clients) ended(ctx context.Context, e ending, err error) error {
	if err != nil || c.tx != nil { // after c.tx commits, Service.Run ends the remaining tokens
		return err
	}
	if err := c.revokeClient(ctx, e.id); err != nil {
		return fmt.Errorf("gormstore: client %q was changed, but some of its tokens may still be valid; Service.Run will end them, if it is running: %w", e.id, err)
	}
	return nil
}

func (c *Clients) ending(clientID, statement string, args ...any) ending {
	key := tokenauth.SlotOf("", clientID).Client
	e := ending{revokesClient, clientID, errClientNotFound, statement, args, deleteTokensOfClient, key[:]}
	if c.tx != nil && c.dialect.locksWhatItReads {
		e.deleteTokens = ""
	}
	return e
}
