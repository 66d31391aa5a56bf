package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"
)

// trustedOwner reads who owns a table or a function, and whether Migrate may take
// it for ours: one of this role, of a role that this one is a member of, of the
// database's owner, of a superuser, or of whoever owns the table of versions. A
// superuser is a member of every role, and so that counts for others only.
const trustedOwner = `SELECT o.rolname::text, o.rolsuper OR o.oid = d.datdba OR o.oid = me.oid
	OR NOT me.rolsuper AND pg_catalog.pg_has_role(o.oid, 'MEMBER'::text)
	OR EXISTS (SELECT FROM pg_catalog.pg_class v WHERE v.oid = pg_catalog.to_regclass($2)::oid AND v.relowner = o.oid)
	FROM {catalog} c JOIN pg_catalog.pg_roles o ON o.oid = c.{owner}
	JOIN pg_catalog.pg_roles me ON me.rolname = current_user
	JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
	WHERE c.oid = {find}($1)::oid`

var (
	trustedOwnerOfTable    = strings.NewReplacer("{catalog}", "pg_catalog.pg_class", "{owner}", "relowner", "{find}", "pg_catalog.to_regclass").Replace(trustedOwner)
	trustedOwnerOfFunction = strings.NewReplacer("{catalog}", "pg_catalog.pg_proc", "{owner}", "proowner", "{find}", "pg_catalog.to_regprocedure").Replace(trustedOwner)
)

// checkOwner returns an error if what Migrate would make is there and belongs to
// another role. On PostgreSQL a table may have triggers of its owner's, which run
// with the rights of whoever writes to it.
func (d *database) checkOwner(ctx context.Context, pool gorm.ConnPool, query, name string, version int) error {
	if query == "" {
		return nil
	}
	var versions any // none: a table may have come with the others
	if version > 0 {
		versions = d.prefix + "schema"
	}
	var owner string
	var trusted bool
	err := pool.QueryRowContext(ctx, query, name, versions).Scan(&owner, &trusted)
	if errors.Is(err, sql.ErrNoRows) || err == nil && trusted {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%s exists and belongs to the role %q; nothing was changed. If this package is to use it, make its owner the role that migrates; otherwise drop it: code of that role may run with the rights of the service", name, owner)
	}
	return err
}
