package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"
)

// trustedOwner selects the owner of a table or function, and whether [Migrate] trusts
// that owner. Migrate trusts the current role, every role that the current role is a
// member of, the database's owner, superusers, and the owner of the schema-version
// table ($2). If the current role is a superuser, its memberships are ignored,
// because a superuser counts as a member of every role.
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
// [Migrate] does not trust. Such an owner may have created a trigger on the table.
// PostgreSQL would run that trigger with the rights of the role that writes to the
// table, which is the service's role.
func (d *database) checkOwner(ctx context.Context, pool gorm.ConnPool, query, name string, version int) error {
	if query == "" {
		return nil
	}
	// While the schema-version table is empty or missing, nothing shows that this
	// package created it. So versions stays NULL, and the owner of the
	// schema-version table is not trusted.
	var versions any
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
		err = fmt.Errorf("%s exists and belongs to the role %q, whose code could run with the rights of the service; nothing was changed. If this package should use %[1]s, change its owner to the role that calls Migrate; otherwise drop it", name, owner)
	}
	return err
}
