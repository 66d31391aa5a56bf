package gormstore

import (
	"context"
	"fmt"
)

// defaultPage and maxPage are the default and the maximum of [ListOptions.Limit].
const (
	defaultPage = 100
	maxPage     = 1000
)

// ListOptions selects a page of [Users.List] or [Clients.List]. The zero value selects
// the first page of all users or clients.
type ListOptions struct {
	// After is the [User.Name] of the last user, or the ID of the last client, on
	// the previous page. Empty selects the first page. The user or client need not
	// exist any more.
	After string
	// Limit is the maximum number of entries on the page. Zero means 100; the
	// maximum is 1000.
	Limit int
	// Search selects the users whose name contains this text, or the clients whose
	// ID does. Empty selects all. For users, it is compared with the normalized name
	// and is itself normalized, so case and width do not matter
	// ([Users.NormalizeUserName]). For clients, the bytes are compared.
	Search string
}

// List returns a page of the users, ordered by their normalized names: in byte order,
// or on PostgreSQL in the order of the database's collation. The next page begins
// after the last user of this page ([ListOptions.After]). A page with fewer users than
// Limit is the last one. List returns [ErrInvalid], wrapped, if Limit is out of range,
// or if After or Search is not UTF-8 without NUL.
//
// A user who exists while all pages are read, and is not renamed, is on exactly one of
// them, whatever else changes. Each page is read through the unique index of the
// normalized names, so it costs the same in a large table. With Search, the database
// tests all users until the page is full.
func (u *Users) List(ctx context.Context, o ListOptions) (users []User, err error) {
	query, args, err := u.page(`SELECT `+userColumns+` FROM tokenauth_users`, `name_key`,
		ListOptions{u.NormalizeUserName(o.After), o.Limit, normalizeSearch(o.Search)})
	if err != nil {
		return nil, err
	}
	err = queryRows(ctx, u.pool(), query, args, func(scan func(...any) error) error {
		var row userRow
		err := row.scan(scan)
		users = append(users, row.User)
		return err
	})
	if err != nil {
		return nil, err
	}
	return users, nil
}

// page returns the query for a page of a table, and its arguments. The page continues
// after a key instead of an offset, so rows that were added or removed meanwhile do
// not move other rows to another page.
func (s session) page(selectRows, key string, o ListOptions) (query string, args []any, err error) {
	if o.Limit < 0 || o.Limit > maxPage {
		return "", nil, fmt.Errorf("%w: ListOptions.Limit is %d, must be from 0 to %d", ErrInvalid, o.Limit, maxPage)
	}
	if !storable(o.After) || !storable(o.Search) {
		return "", nil, fmt.Errorf("%w: ListOptions.After and Search must be UTF-8 without NUL", ErrInvalid)
	}
	if o.Limit == 0 {
		o.Limit = defaultPage
	}
	query = selectRows + ` WHERE ` + key + ` > ?` + s.dialect.primary
	args = []any{o.After}
	if o.Search != "" {
		query += ` AND ` + s.dialect.position + `(` + key + `, ?) > 0`
		args = append(args, o.Search)
	}
	return s.sql(query + ` ORDER BY ` + key + ` LIMIT ?`), append(args, o.Limit), nil
}
