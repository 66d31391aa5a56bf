package gormstore_test

import (
	"strings"
	"testing"

	"gorm.io/driver/postgres"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
)

func TestPostgresSettings(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string]string{
		"SERIALIZABLE":    "default_transaction_isolation=serializable",
		"REPEATABLE READ": "default_transaction_isolation=repeatable%20read&default_transaction_deferrable=on",
		"timeouts":        "statement_timeout=5000&lock_timeout=2000&idle_in_transaction_session_timeout=2000&idle_session_timeout=2000",
		"writing":         "standard_conforming_strings=off&backslash_quote=on&bytea_output=escape&DateStyle=German&IntervalStyle=sql_standard&TimeZone=Asia/Kathmandu&quote_all_identifiers=on&transform_null_equals=on",
		"simple protocol": "bytea_output=hex&DateStyle=German&default_query_exec_mode=simple_protocol",
		"planner":         "jit=on&jit_above_cost=0&enable_indexscan=off&plan_cache_mode=force_generic_plan&row_security=off",
		"client encoding": "client_encoding=LATIN1",
		"commits":         "synchronous_commit=off&escape_string_warning=off&client_min_messages=debug1&default_table_access_method=heap&extra_float_digits=-15",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLongVariant(t, name != "SERIALIZABLE" && name != "writing")
			dsn := throwaway.Postgres(t)
			works(t, newStore(t, openDialector(t, postgres.Open(dsn+"&"+settings), nil), nil), openDialector(t, postgres.Open(dsn), nil))
		})
	}
	for name, test := range map[string]struct{ settings, says string }{
		"escaped bytes, simple": {"bytea_output=escape&default_query_exec_mode=simple_protocol", "bytea_output is escape, must be hex"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			t.Parallel()
			db := openDialector(t, postgres.Open(throwaway.Postgres(t)+"&"+test.settings), nil)
			expectRefused(t, db, nil, gormstore.ErrSetting, test.says)
		})
	}
}

// A database in another encoding than UTF-8 stores text without loss: no character
// becomes a question mark.
func TestPostgresEncodings(t *testing.T) {
	t.Parallel()
	inLongVariant(t, true)
	admin := openDialector(t, postgres.Open(throwaway.Postgres(t)), nil)
	for _, encoding := range []string{"SQL_ASCII", "LATIN1"} {
		t.Run(encoding, func(t *testing.T) {
			name := admin.Migrator().CurrentDatabase() + "_" + strings.ToLower(encoding)
			if err := admin.Exec("CREATE DATABASE " + name + " TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' ENCODING '" + encoding + "'").Error; err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { admin.Exec("DROP DATABASE " + name + " WITH (FORCE)") })
			dsn := strings.Replace(admin.Config.Dialector.(*postgres.Dialector).DSN, admin.Migrator().CurrentDatabase(), name, 1)
			db := openDialector(t, postgres.Open(dsn), nil)
			s := newStore(t, db, nil)
			works(t, s, db)
		})
	}
}
