package gormstore

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// tokenColumns are the columns that a tokenRow scans, in this order.
const tokenColumns = `user_key, client_key, format, digest, replaced, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp, device, device_name, issued_ms, lifetime`

// refreshColumns are the columns of tokenColumns and of the refresh token.
const refreshColumns = tokenColumns + `, refresh, refresh_expires_at`

// useColumns are the columns of a recorded use.
const useColumns = `user_key, client_key, digest, used_at`

// rowFormat is the version of the row format in the token table.
const rowFormat = 1

// A tokenRow holds the columns of one row of the token table. Each read takes a
// tokenRow from the pool tokenRows, so that it need not allocate each field.
type tokenRow struct {
	user, client, digest, replaced, attributes sql.RawBytes
	format                                     int
	issued, expires, issuedMS, lifetime        int64
	clientID, userID, userName, roles, stamp   string
	device, deviceName                         string
	refresh                                    sql.RawBytes
	refreshExpires                             int64

	index   int           // in a batch, the index of the row's slot
	used    sql.NullInt64 // in a list, when the token was last used
	columns []any         // pointers to the fields, in the order of tokenColumns
	indexed []any         // a pointer to index, followed by columns
	listed  []any         // pointers in the order of refreshColumns, followed by one to used

	refreshed, indexedRefreshed []any // as columns and indexed, in the order of refreshColumns
}

var tokenRows = sync.Pool{New: func() any {
	r := new(tokenRow)
	r.columns = []any{
		&r.user, &r.client, &r.format, &r.digest, &r.replaced, &r.issued, &r.expires,
		&r.clientID, &r.userID, &r.userName, &r.roles, &r.attributes, &r.stamp,
		&r.device, &r.deviceName, &r.issuedMS, &r.lifetime,
	}
	r.indexed = append([]any{&r.index}, r.columns...)
	r.refreshed = append(slices.Clone(r.columns), &r.refresh, &r.refreshExpires)
	r.indexedRefreshed = append([]any{&r.index}, r.refreshed...)
	r.listed = append(slices.Clone(r.refreshed), &r.used)
	return r
}}

// free clears r and returns it to the pool. Clearing r ensures that a driver that
// leaves a field unset cannot expose an earlier token's value.
func (r *tokenRow) free() {
	*r = tokenRow{columns: r.columns, indexed: r.indexed, listed: r.listed, refreshed: r.refreshed, indexedRefreshed: r.indexedRefreshed}
	tokenRows.Put(r)
}

// read scans a row and returns its token, or [tokenauth.ErrCorrupt], wrapped.
func (r *tokenRow) read(scan func(...any) error) (tokenauth.Token, error) {
	return r.readTo(scan, r.columns)
}

// readIndexed is like read, but scans a row of a batch into columns, which are
// r.indexed or r.indexedRefreshed. It also sets r.index; if the index cannot be
// scanned, r.index is -1.
func (r *tokenRow) readIndexed(scan func(...any) error, columns []any) (tokenauth.Token, error) {
	r.index = -1
	return r.readTo(scan, columns)
}

func (r *tokenRow) readTo(scan func(...any) error, columns []any) (tokenauth.Token, error) {
	if err := scan(columns...); err != nil {
		return tokenauth.Token{}, fmt.Errorf("%w: %w", tokenauth.ErrCorrupt, err)
	}
	return r.token()
}

// listTokens runs list, which is [selectTokensOfUser], and returns the user's tokens.
// The error corrupt joins the errors of all rows that could not be decoded.
func listTokens(ctx context.Context, list *statement, u tokenauth.UserKey) (tokens []tokenauth.Token, corrupt, err error) {
	r := tokenRows.Get().(*tokenRow)
	defer r.free()
	err = list.queryRows(ctx, func(scan func(...any) error) error {
		t, err := r.readTo(scan, r.listed)
		if err != nil {
			corrupt = errors.Join(corrupt, err)
			return nil // go on: only this row is corrupt, or the connection failed and no row follows
		}
		if r.used.Valid {
			t.LastSeen = time.Unix(r.used.Int64, 0).UTC()
		}
		tokens = append(tokens, t)
		return nil
	}, u[:])
	return tokens, corrupt, err
}

// token decodes the row. It returns [tokenauth.ErrCorrupt], wrapped, if that fails.
func (r *tokenRow) token() (t tokenauth.Token, err error) {
	if r.format != rowFormat || len(r.user) != len(t.Slot.User) || len(r.client) != len(t.Slot.Client) ||
		len(r.digest) != len(t.Digest) || len(r.replaced) != 0 && len(r.replaced) != len(t.Replaced) {
		return t, fmt.Errorf("%w: the row has an unknown format (format %d; this version reads 1), or a key or digest of the wrong length", tokenauth.ErrCorrupt, r.format)
	}
	if r.issuedMS < 0 || r.issuedMS > 999 || r.lifetime < 0 {
		return t, fmt.Errorf("%w: issued_ms is %d, must be 0 to 999, and lifetime is %d, must not be negative", tokenauth.ErrCorrupt, r.issuedMS, r.lifetime)
	}
	copy(t.Slot.User[:], r.user)
	copy(t.Slot.Client[:], r.client)
	copy(t.Digest[:], r.digest)
	copy(t.Replaced[:], r.replaced)
	t.IssuedAt, t.ExpiresAt = time.Unix(r.issued, r.issuedMS*int64(time.Millisecond)).UTC(), time.Unix(r.expires, 0).UTC()
	t.ClientID, t.Device, t.DeviceName = r.clientID, r.device, r.deviceName
	// An earlier version of this package overwrites a token but not its lifetime. So
	// the lifetime may be that of an earlier token, but must not exceed this token's.
	lifetime := max(0, min(r.lifetime, r.expires-r.issued))
	if t.Lifetime = time.Duration(lifetime) * time.Second; t.Lifetime/time.Second != time.Duration(lifetime) {
		return tokenauth.Token{}, fmt.Errorf("%w: lifetime is %d seconds, which is too long", tokenauth.ErrCorrupt, lifetime)
	}
	if len(r.refresh) > 0 {
		t.Refresh = &tokenauth.Refresh{ExpiresAt: time.Unix(r.refreshExpires, 0).UTC(), State: bytes.Clone(r.refresh)}
	}
	t.Principal = tokenauth.Principal{UserID: r.userID, UserName: r.userName, Stamp: r.stamp}
	if err := decode(r.roles, r.attributes, &t.Principal.Roles, &t.Principal.Attributes); err != nil {
		return tokenauth.Token{}, fmt.Errorf("%w: %w", tokenauth.ErrCorrupt, err)
	}
	return t, nil
}

// encode returns roles and attributes as text, because not every engine has a column
// type for them. It joins roles with commas, which no role contains, and encodes
// attributes as JSON.
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
