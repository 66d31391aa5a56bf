package gormstore_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/storage/gormstore"
)

// Row-level security without a policy hides all rows without an error. New refuses it,
// because the service would reject every token.
func TestNewRefusesTablesWithHiddenRows(t *testing.T) {
	t.Parallel()
	a := accountsOn(t, engines[1])
	s := newStore(t, a.admin, nil)
	create(t, s, "alice")
	token := mustSignIn(t, service(t, s, s.Users()), "alice")
	a.grant(t, a.service, "tokenauth_")
	db := a.open(t, a.service)
	expect := func(when string, hidden ...string) {
		t.Helper()
		s, err := gormstore.New(t.Context(), db, nil)
		if len(hidden) == 0 {
			if err == nil {
				_, err = service(t, s, s.Users()).Validate(t.Context(), token)
			}
			if err != nil {
				t.Errorf("%s: %v", when, err)
			}
			return
		}
		if says := "hides all rows of " + strings.Join(hidden, ", ") + " from"; !errors.Is(err, gormstore.ErrSetting) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "DISABLE ROW LEVEL SECURITY") {
			t.Errorf("%s: New returns %v, want %q", when, err, says)
		}
	}
	expect("without")
	for _, table := range []string{"tokens", "schema"} {
		a.exec(t, `ALTER TABLE tokenauth_`+table+` ENABLE ROW LEVEL SECURITY`)
	}
	expect("no policy", "tokenauth_schema", "tokenauth_tokens")
	a.exec(t, `CREATE POLICY versions ON tokenauth_schema FOR SELECT USING (true)`)
	expect("a policy for one table", "tokenauth_tokens")
	a.exec(t, `CREATE POLICY writes ON tokenauth_tokens FOR INSERT WITH CHECK (true)`)
	a.exec(t, `CREATE POLICY others ON tokenauth_tokens TO `+a.migrator+` USING (true)`)
	a.exec(t, `CREATE POLICY narrower ON tokenauth_tokens AS RESTRICTIVE USING (true)`)
	expect("policies for others", "tokenauth_tokens")
	a.exec(t, `CREATE POLICY ours ON tokenauth_tokens TO `+a.service+` USING (true)`)
	expect("a policy for the account")
	a.exec(t, `DROP POLICY ours ON tokenauth_tokens`)
	a.exec(t, `GRANT `+a.migrator+` TO `+a.service)
	expect("a policy for a role of the account")
	a.exec(t, `REVOKE `+a.migrator+` FROM `+a.service)
	a.exec(t, `ALTER ROLE `+a.service+` BYPASSRLS`)
	expect("BYPASSRLS")
	if _, err := gormstore.New(t.Context(), a.admin, nil); err != nil {
		t.Errorf("the owner: %v", err)
	}
}
