package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"
)

// trustedOwner reads the owner of a table or function, and whether [Migrate] trusts
// that owner. It trusts the present role, roles of which that is a member, the
// database's owner, superusers, and the owner of the table of versions. Membership
// does not count if the present role is a superuser, which is a member of every role.
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

// checkOwner returns an error if the table or function exists and has an owner that
// [Migrate] does not trust. The owner may have put a trigger on the table. PostgreSQL
// runs it with the rights of the service that writes to the table.
func (d *database) checkOwner(ctx context.Context, pool gorm.ConnPool, query, name string, version int) error {
	if query == "" {
		return nil
	}
	var versions any // NULL without a version: then its owner proves nothing
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
		err = fmt.Errorf("%s exists and belongs to the role %q; nothing was changed. If this package should use it, make the role that migrates its owner; otherwise drop it: code of its owner may run with the rights of the service", name, owner)
	}
	return err
}
