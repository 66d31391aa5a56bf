package gormstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// tokenColumns are those that a tokenRow scans, in this order.
const tokenColumns = `user_key, client_key, format, digest, replaced, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp`

// rowFormat is the version of what a row of tokens says.
const rowFormat = 1

// A tokenRow is where a row of tokens is scanned to. It is used again, since
// database/sql would have each of its fields on the heap.
type tokenRow struct {
	user, client, digest, replaced, attributes sql.RawBytes
	format                                     int
	issued, expires                            int64
	clientID, userID, userName, roles, stamp   string

	index   int   // of the slot, before the columns, in a batch
	columns []any // pointers to the fields, in the order of tokenColumns
	indexed []any // that of index, and columns
}

var tokenRows = sync.Pool{New: func() any {
	r := new(tokenRow)
	r.columns = []any{
		&r.user, &r.client, &r.format, &r.digest, &r.replaced, &r.issued, &r.expires,
		&r.clientID, &r.userID, &r.userName, &r.roles, &r.attributes, &r.stamp,
	}
	r.indexed = append([]any{&r.index}, r.columns...)
	return r
}}

// free gives the row back. It keeps nothing of what was read: the next one to
// use it must not find another's token, whatever the driver leaves unset.
func (r *tokenRow) free() {
	*r = tokenRow{columns: r.columns, indexed: r.indexed}
	tokenRows.Put(r)
}

// read returns the token that is scanned, or ErrCorrupt, wrapped.
func (r *tokenRow) read(scan func(...any) error) (tokenauth.Token, error) {
	return r.readTo(scan, r.columns)
}

// readIndexed does the same, and sets index, or leaves it at -1 if that cannot be
// read.
func (r *tokenRow) readIndexed(scan func(...any) error) (tokenauth.Token, error) {
	r.index = -1
	return r.readTo(scan, r.indexed)
}

func (r *tokenRow) readTo(scan func(...any) error, columns []any) (tokenauth.Token, error) {
	if err := scan(columns...); err != nil {
		return tokenauth.Token{}, fmt.Errorf("%w: %w", tokenauth.ErrCorrupt, err)
	}
	return r.token()
}

// listTokens returns the user's tokens that the statement gives. Corrupt is why
// others could not be read.
func listTokens(ctx context.Context, list *statement, u tokenauth.UserKey) (tokens []tokenauth.Token, corrupt, err error) {
	r := tokenRows.Get().(*tokenRow)
	defer r.free()
	err = list.queryRows(ctx, func(scan func(...any) error) error {
		t, err := r.read(scan)
		if err != nil {
			corrupt = errors.Join(corrupt, err)
			return nil // if it is a fault, no row comes after it
		}
		tokens = append(tokens, t)
		return nil
	}, u[:])
	return tokens, corrupt, err
}

// token returns what the row says, or ErrCorrupt, wrapped.
func (r *tokenRow) token() (t tokenauth.Token, err error) {
	if r.format != rowFormat || len(r.user) != len(t.Slot.User) || len(r.client) != len(t.Slot.Client) ||
		len(r.digest) != len(t.Digest) || len(r.replaced) != 0 && len(r.replaced) != len(t.Replaced) {
		return t, fmt.Errorf("%w: format %d, or a key or digest of a wrong length", tokenauth.ErrCorrupt, r.format)
	}
	copy(t.Slot.User[:], r.user)
	copy(t.Slot.Client[:], r.client)
	copy(t.Digest[:], r.digest)
	copy(t.Replaced[:], r.replaced)
	t.IssuedAt, t.ExpiresAt = time.Unix(r.issued, 0).UTC(), time.Unix(r.expires, 0).UTC()
	t.ClientID = r.clientID
	t.Principal = tokenauth.Principal{UserID: r.userID, UserName: r.userName, Stamp: r.stamp}
	if err := decode(r.roles, r.attributes, &t.Principal.Roles, &t.Principal.Attributes); err != nil {
		return tokenauth.Token{}, fmt.Errorf("%w: %w", tokenauth.ErrCorrupt, err)
	}
	return t, nil
}

// encode makes text of what has no column type on every engine: roles joined
// by the comma that none has, attributes as JSON.
func encode(roles []string, attributes map[string]string) (r, a string, err error) {
	r = strings.Join(roles, ",")
	if len(attributes) == 0 {
		return r, "{}", nil
	}
	b, err := json.Marshal(attributes)
	return r, string(b), err
}

func decode(r string, a []byte, roles *[]string, attributes *map[string]string) error {
	if r != "" {
		*roles = strings.Split(r, ",")
	}
	if string(a) == "{}" {
		return nil
	}
	return json.Unmarshal(a, attributes)
}
