package gormstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// The statements of FindBatch, FindRefresh, Refresh, Rename, List and RecordUses look
// up each row by the primary key, on a table of any size, with or without statistics.
func TestReadsUseThePrimaryKey(t *testing.T) {
	analyse := map[string]string{"sqlite": "ANALYZE", "postgres": "ANALYZE tokenauth_tokens, tokenauth_uses", "mariadb": "ANALYZE TABLE tokenauth_tokens, tokenauth_uses"}
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		pool, err := db.DB()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := pool.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		check := func(when string) {
			t.Helper()
			for _, n := range []int{1, 2, 8, 9, 64} {
				text, args := s.BatchStatement(batchSlots(n))
				expectPlan(t, e, fmt.Sprintf("%s, %d slots", when, n), explainBatch(t, e, conn, text, args), "tokenauth_tokens")
				text, args = s.FindRefreshStatement(batchSlots(n))
				expectPlan(t, e, fmt.Sprintf("%s, refreshes of %d slots", when, n), explainBatch(t, e, conn, text, args), "tokenauth_tokens")
				text, args = s.UsesStatement(batchSlots(n))
				expectPlan(t, e, fmt.Sprintf("%s, uses of %d slots", when, n), explainBatch(t, e, conn, text, args), "tokenauth_uses")
			}
			explainsRefresh(t, e, when, conn, s.RefreshStatement())
			was := batchToken(1)
			explainsUpdate(t, e, when, "Rename", conn, s.RenameStatement(), "name", was.Slot.User[:], was.Slot.Client[:], was.Digest[:])
			user := tokenauth.UserKeyOf("user1")
			expectPlan(t, e, when+", a list", explainList(t, e, conn, s.ListStatement(), user[:]), "tokenauth_uses")
			explain := map[string]string{"sqlite": "EXPLAIN QUERY PLAN ", "postgres": "EXPLAIN ", "mariadb": "EXPLAIN "}[e.name]
			unused, orphans := s.SweepStatements()
			first, last := []byte{0}, []byte{255}
			sweeps := rowsOf(t, conn, explain+unused, first, last, 5, 5, 5, first, last, "key", 5) + rowsOf(t, conn, explain+orphans, first, last)
			for _, alias := range []string{"u", "token"} {
				lookup := map[string]string{"sqlite": "SEARCH " + alias + " USING PRIMARY KEY (user_key=? AND client_key=?)",
					"postgres": " " + alias + "  (cost", "mariadb": "|" + alias + "|eq_ref|PRIMARY|"}[e.name]
				if !strings.Contains(sweeps, lookup) || strings.Contains(sweeps, "Hash") || strings.Contains(sweeps, "Seq Scan on "+map[string]string{"u": "tokenauth_uses u", "token": "tokenauth_tokens token"}[alias]) {
					t.Errorf("%s: the plans of the sweeps lack %q:\n%s", when, lookup, sweeps)
				}
			}
		}
		fillTokens(t, e, db, 0, 10) // MariaDB scans a table that has no rows
		check("10 rows")
		fillTokens(t, e, db, 10, 12_000)
		check("12,000 rows, not analysed")
		if err := db.Exec(analyse[e.name]).Error; err != nil {
			t.Fatal(err)
		}
		check("12,000 rows")
		for _, statement := range []string{"DELETE FROM tokenauth_tokens WHERE issued_at > 5", "DELETE FROM tokenauth_uses WHERE used_at > 5"} {
			if err := db.Exec(statement).Error; err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Exec(analyse[e.name]).Error; err != nil {
			t.Fatal(err)
		}
		fillTokens(t, e, db, 20_000, 32_000)
		check("12,000 rows, analysed when there were 5")
	})
}

// explainsRefresh checks that the statement of Refresh finds its row by the primary key.
func explainsRefresh(t *testing.T, e engine, when string, conn *sql.Conn, text string) {
	t.Helper()
	was := batchToken(1)
	explainsUpdate(t, e, when, "Refresh", conn, text, was.Digest[:], nil, 1, 2, "name", "", "{}", "stamp", 0, []byte("state"), 3,
		was.Slot.User[:], was.Slot.Client[:], was.Digest[:], []byte("state"), was.Principal.Stamp)
}

// explainsUpdate checks that an UPDATE finds its row by the primary key.
func explainsUpdate(t *testing.T, e engine, when, method string, conn *sql.Conn, text string, args ...any) {
	t.Helper()
	explain := map[string]string{"sqlite": "EXPLAIN QUERY PLAN ", "postgres": "EXPLAIN ", "mariadb": "EXPLAIN "}[e.name]
	plan := rowsOf(t, conn, explain+text, args...)
	right := map[string]string{
		"sqlite":   "SEARCH tokenauth_tokens USING PRIMARY KEY (user_key=? AND client_key=?)",
		"postgres": "Scan using tokenauth_tokens_pkey",
		"mariadb":  "tokenauth_tokens|range|PRIMARY|PRIMARY|32|",
	}[e.name]
	plan = strings.ReplaceAll(plan, "Bitmap Index Scan on tokenauth_tokens_pkey", right) // for few rows
	if !strings.Contains(plan, right) || strings.Contains(plan, "Seq Scan") {
		t.Errorf("%s: the plan of %s lacks %q:\n%s", when, method, right, plan)
	}
}

var (
	rightPlan = map[string]string{ // TABLE is the table's name
		"sqlite":   "SEARCH TABLE USING PRIMARY KEY (user_key=? AND client_key=?)",
		"postgres": "TABLE_pkey",
		"mariadb":  "TABLE|eq_ref|PRIMARY|PRIMARY|32|",
	}
	wrongPlan = map[string][]string{
		"sqlite":   {"SCAN tokenauth_tokens", "SCAN tokenauth_uses", "SCAN t ", "SCAN u ", "AUTOMATIC"},
		"postgres": {"Seq Scan", "Hash", "Merge", "Memoize", "Materialize", "JIT"},
		"mariadb": {"tokenauth_tokens|ALL", "tokenauth_tokens|index", "tokenauth_tokens|range", "tokenauth_tokens|hash",
			"|t|ALL", "|t|index", "tokenauth_uses|ALL", "tokenauth_uses|index", "tokenauth_uses|range", "tokenauth_uses|hash"},
	}
)

// expectPlan checks that a plan looks up the rows of the table by the primary key.
func expectPlan(t *testing.T, e engine, when, plan, table string) {
	t.Helper()
	for _, wrong := range wrongPlan[e.name] {
		if strings.Contains(plan, wrong) {
			t.Errorf("%s: the plan has %q:\n%s", when, wrong, plan)
		}
	}
	if right := strings.ReplaceAll(rightPlan[e.name], "TABLE", table); !strings.Contains(plan, right) {
		t.Errorf("%s: the plan lacks %q:\n%s", when, right, plan)
	}
}

// explainList returns the plans of the statement of List, with the name of the table for
// its alias. On PostgreSQL these are the custom plan and the generic plan. They may join
// in any way, because they read both tables by the user's key.
func explainList(t *testing.T, e engine, conn *sql.Conn, text string, key []byte) (plan string) {
	t.Helper()
	switch e.name {
	case "sqlite":
		return strings.ReplaceAll(rowsOf(t, conn, "EXPLAIN QUERY PLAN "+text, key), "SEARCH u ", "SEARCH tokenauth_uses ")
	case "mariadb":
		return strings.ReplaceAll(rowsOf(t, conn, "EXPLAIN "+text, key), "|u|", "|tokenauth_uses|")
	}
	plan = rowsOf(t, conn, "EXPLAIN "+text, key)
	for _, statement := range []string{"PREPARE list AS " + text, "SET plan_cache_mode = force_generic_plan"} {
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	plan += rowsOf(t, conn, fmt.Sprintf(`EXPLAIN EXECUTE list ('\x%x')`, key))
	for _, statement := range []string{"DEALLOCATE list", "RESET plan_cache_mode"} {
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return strings.NewReplacer("Hash", "", "Merge", "", "Materialize", "").Replace(plan)
}

// explainBatch returns the plans of the statement. On PostgreSQL these are the custom
// plan, the generic plan, and the plan of a prepared statement that has run often. The
// last one must be the generic plan.
func explainBatch(t *testing.T, e engine, conn *sql.Conn, text string, args []any) (plan string) {
	t.Helper()
	switch e.name {
	case "sqlite":
		return rowsOf(t, conn, "EXPLAIN QUERY PLAN "+text, args...)
	case "mariadb":
		return rowsOf(t, conn, "EXPLAIN "+text, args...)
	}
	exec := func(statement string) {
		t.Helper()
		if _, err := conn.ExecContext(context.Background(), statement); err != nil {
			t.Fatal(err)
		}
	}
	plan = rowsOf(t, conn, "EXPLAIN "+text, args...)
	exec("PREPARE batch AS " + text)
	defer exec("DEALLOCATE batch")
	execute := fmt.Sprintf(`EXPLAIN EXECUTE batch ('\x%x', '\x%x', %d)`, args...)
	exec("SET plan_cache_mode = force_generic_plan")
	plan += rowsOf(t, conn, execute)
	exec("RESET plan_cache_mode")
	var last string
	for range 7 {
		last = rowsOf(t, conn, execute)
		plan += last
	}
	if !strings.Contains(last, "substr($1,") {
		t.Errorf("the statement is planned again at each execution:\n%s", last)
	}
	return plan
}

// rowsOf returns the rows of a query as text.
func rowsOf(t *testing.T, conn *sql.Conn, query string, args ...any) string {
	t.Helper()
	rows, err := conn.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for rows.Next() {
		values, targets := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		for _, value := range values {
			text.WriteString(value.String + "|")
		}
		text.WriteString("\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// fillTokens stores the tokens of users, many in one statement, and a use of each.
func fillTokens(tb testing.TB, e engine, db *gorm.DB, from, to int) {
	tb.Helper()
	literal := `X'%x'`
	if e.name == "postgres" {
		literal = `'\x%x'`
	}
	for from < to {
		var values, uses []string
		for ; from < to && len(values) < 500; from++ {
			t := batchToken(from)
			values = append(values, fmt.Sprintf("("+literal+", "+literal+", 1, "+literal+", NULL, %d, %d, '%s', '%s', 'someone', 'Reader', '{}', 'stamp')",
				t.Slot.User[:], t.Slot.Client[:], t.Digest[:], t.IssuedAt.Unix(), t.ExpiresAt.Unix(), t.ClientID, t.Principal.UserID))
			uses = append(uses, fmt.Sprintf("("+literal+", "+literal+", "+literal+", %d)", t.Slot.User[:], t.Slot.Client[:], t.Digest[:], t.IssuedAt.Unix()))
		}
		err := db.Exec(`INSERT INTO tokenauth_tokens (user_key, client_key, format, digest, replaced, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp) VALUES ` + strings.Join(values, ", ")).Error
		if err != nil {
			tb.Fatal(err)
		}
		if err := db.Exec(`INSERT INTO tokenauth_uses (user_key, client_key, digest, used_at) VALUES ` + strings.Join(uses, ", ")).Error; err != nil {
			tb.Fatal(err)
		}
	}
}
