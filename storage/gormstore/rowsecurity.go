package gormstore

import (
	"context"
	"fmt"
	"strings"
)

// hiddenTables selects the tables that have row-level security but no policy that
// lets the current role read them. It does not evaluate the policies' conditions.
const hiddenTables = `SELECT c.relname::text FROM pg_catalog.pg_class c
	WHERE c.oid IN ({tables}) AND pg_catalog.row_security_active(c.oid)
	AND NOT EXISTS (SELECT FROM pg_catalog.pg_policy p, pg_catalog.unnest(p.polroles) AS r(role)
		WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN ('r', '*')
		AND (r.role = 0::oid OR pg_catalog.pg_has_role(r.role, 'USAGE'::text)))
	ORDER BY c.relname`

// checkRowSecurity returns errSetting, wrapped, if row-level security hides all rows
// of one of the tables. Reads would then find no row and return no error, so the
// service would reject every token and password.
func (d *database) checkRowSecurity(ctx context.Context) error {
	if d.db.Name() != "postgres" {
		return nil
	}
	args := make([]any, len(tables))
	for i, table := range tables {
		args[i] = d.prefix + table
	}
	among := strings.TrimPrefix(strings.Repeat(`, pg_catalog.to_regclass(?)::oid`, len(tables)), ", ")
	var hidden []string
	err := queryRows(ctx, d.pool, d.sql(strings.Replace(hiddenTables, "{tables}", among, 1)), args, func(scan func(...any) error) error {
		hidden = append(hidden, "")
		return scan(&hidden[len(hidden)-1])
	})
	if err != nil {
		return fmt.Errorf("gormstore: reading the row-level security of the tables: %w", err)
	}
	if len(hidden) == 0 {
		return nil
	}
	return fmt.Errorf("%w: row-level security hides all rows of %s from this database account. For each table, run ALTER TABLE %s DISABLE ROW LEVEL SECURITY, or create a policy FOR ALL with USING (true) for the account; or give the account BYPASSRLS", errSetting, strings.Join(hidden, ", "), hidden[0])
}
