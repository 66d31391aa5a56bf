package gormstore

import "database/sql"

// A dialect is what differs between the engines. Statements are written for
// SQLite, with the default prefix, and rewritten.
type dialect struct {
	folder    string // under migrations
	numbered  bool   // $1, $2, … for ?
	aliases   bool   // INSERT INTO … AS t
	prepare   bool   // whether statements have to be prepared here
	overwrite string // what an INSERT into tokens does on conflict
	ignore    string // what an INSERT into users does on conflict: nothing
	share     string // a read that waits for writers of the row
	primary   string // ends the condition of a read, and fails at a standby
	update    string // a read of counters that keeps others from them
	lock      string // what has to come before such a read, or ""
	// an INSERT that does nothing on conflict, and tells so by the rows affected
	insertIgnore, onConflict string
	overwriteCounter         string // what an INSERT into counters does on conflict
	newestChange             string // the clause of an INSERT into revocations for a conflict
	// whether a DELETE without an index locks every row that it reads, at the
	// level that a transaction or a statement has by default
	locksWhatItReads bool
	exists           string // whether a table exists
	columns          string // reads the names of a table's columns
	tableOwner       string // reads a table's owner, where another role's may do harm
	now              string // reads the clock, in Unix seconds
	isolation        string // reads the transaction's level, where that matters
	txOptions        []*sql.TxOptions
	settings         string // reads settings of the session, by name
	tryBytes         string // reads the bytes 0 and 255
	rules            []rule // check the settings
	engines          string // reads which engine keeps each table with a prefix
	guard            string // an expression that is true, or an error where a session has harmful settings
	truncates        bool   // whether a mode of it cuts off what is too long for a column
	// the LIMIT of a statement that has none: sql_safe_updates demands one, and
	// sql_select_limit sets one
	unlimited string
}

// The columns that a sign-in overwrites. *replaced* comes first: MariaDB and
// MySQL evaluate assignments from left to right, and would else copy the new
// digest.
//
// A driver may send a statement twice, if the connection breaks in between. A
// token does not replace itself then. And what is no digest, because somebody
// spoiled the row, is not copied: the next sign-in mends it.
const overwrite = ` ON CONFLICT (user_key, client_key) DO UPDATE SET
	replaced = CASE WHEN t.digest = excluded.digest THEN t.replaced WHEN length(t.digest) = 32 THEN t.digest END,
	digest = excluded.digest, format = excluded.format,
	issued_at = excluded.issued_at, expires_at = excluded.expires_at,
	client_id = excluded.client_id, user_id = excluded.user_id, user_name = excluded.user_name,
	roles = excluded.roles, attributes = excluded.attributes, stamp = excluded.stamp`

// onPrimary makes a read fail at a standby, where tokens that have ended are still
// there. A check in New would prove one connection, and every other one may lead
// elsewhere, now or after a fail-over. The server evaluates it before it looks for
// rows, so that none is missing without an error. What fails is the cast of a text to
// a boolean, and the error quotes the text.
const onPrimary = ` AND CASE WHEN (SELECT pg_catalog.pg_is_in_recovery()) THEN '` + atStandby + `' ELSE 'true' END::pg_catalog.bool`

const atStandby = `this connection leads to a standby, which lags: the service must be connected to the primary only (target_session_attrs=read-write in the DSN; no proxy that sends reads to standbys)`

const overwriteCounter = ` ON CONFLICT (counter_key) DO UPDATE SET
	failures = excluded.failures, failed_at = excluded.failed_at, pending = excluded.pending,
	pending_at = excluded.pending_at, succeeded_at = excluded.succeeded_at, forget_at = excluded.forget_at`

// unlimited is more rows than a table has.
const unlimited = ` LIMIT 9223372036854775807`

const newestChange = ` ON CONFLICT (kind, id) DO UPDATE SET change_id = excluded.change_id`

// guarded returns the value, or an error where a session has harmful settings.
func (d *dialect) guarded(value string) string {
	if d.guard == "" {
		return value
	}
	return `IF(` + d.guard + `, ` + value + `, NULL)`
}

var dialects = map[string]dialect{
	"postgres": {
		folder:   "postgres",
		numbered: true,
		aliases:  true,
		// The driver prepares and caches by itself, unless the host told it
		// not to, for a proxy that pools transactions.
		prepare:      false,
		overwrite:    overwrite,
		ignore:       ` ON CONFLICT DO NOTHING`,
		insertIgnore: `INSERT INTO`, onConflict: ` ON CONFLICT DO NOTHING`,
		overwriteCounter: overwriteCounter,
		newestChange:     newestChange,
		share:            ` FOR SHARE`,
		primary:          onPrimary,
		update:           ` FOR UPDATE`,
		exists:           `SELECT count(*) FROM (SELECT pg_catalog.to_regclass(?) AS t) AS found WHERE t IS NOT NULL`,
		columns:          `SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = pg_catalog.to_regclass(?)::oid AND attnum > 0 AND NOT attisdropped`,
		tableOwner:       trustedOwnerOfTable,
		now:              `SELECT pg_catalog.floor(extract(epoch FROM pg_catalog.clock_timestamp()))::bigint`,
		isolation:        `SELECT pg_catalog.current_setting('transaction_isolation')`,
		txOptions:        []*sql.TxOptions{{Isolation: sql.LevelReadCommitted}},
		settings:         `SELECT name::text, setting::text FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'bytea_output'::text`,
		tryBytes:         `SELECT pg_catalog.decode('00ff'::text, 'hex'::text)`,
		rules:            postgresRules,
	},
	"mysql": {
		folder:  "mysql",
		prepare: true,
		overwrite: ` ON DUPLICATE KEY UPDATE
			replaced = IF(digest = VALUES(digest), replaced, digest), digest = VALUES(digest), format = VALUES(format),
			issued_at = VALUES(issued_at), expires_at = VALUES(expires_at),
			client_id = VALUES(client_id), user_id = VALUES(user_id), user_name = VALUES(user_name),
			roles = VALUES(roles), attributes = VALUES(attributes), stamp = VALUES(stamp)`,
		ignore: ` ON DUPLICATE KEY UPDATE id = id`,
		share:  ` LOCK IN SHARE MODE`,
		update: unlimited + ` FOR UPDATE`,
		// Not ON DUPLICATE KEY, whose rows affected depend on the host's DSN.
		insertIgnore: `INSERT IGNORE INTO`,
		overwriteCounter: ` ON DUPLICATE KEY UPDATE
			failures = VALUES(failures), failed_at = VALUES(failed_at), pending = VALUES(pending),
			pending_at = VALUES(pending_at), succeeded_at = VALUES(succeeded_at), forget_at = VALUES(forget_at)`,
		newestChange:     ` ON DUPLICATE KEY UPDATE change_id = VALUES(change_id)`,
		locksWhatItReads: true, // at REPEATABLE READ
		// Locks rows, and no gaps between them, in which others insert.
		txOptions: []*sql.TxOptions{{Isolation: sql.LevelReadCommitted}},
		columns:   `SELECT column_name FROM information_schema.columns WHERE table_schema = database() AND table_name = ?`,
		settings: `SHOW SESSION VARIABLES WHERE Variable_name IN ('autocommit', 'completion_type', 'character_set_client', 'character_set_connection',
			'transaction_isolation', 'tx_isolation', 'unique_checks', 'sql_mode', 'log_bin', 'sql_log_bin', 'binlog_format')`,
		rules:     mysqlRules,
		engines:   `SELECT table_name, coalesce(engine, '') FROM information_schema.tables WHERE table_schema = database() AND table_type = 'BASE TABLE' AND table_name LIKE ? ESCAPE '|'`,
		guard:     commits,
		truncates: true,
		unlimited: unlimited,
		now:       `SELECT unix_timestamp()`,
		exists:    `SELECT count(*) FROM information_schema.tables WHERE table_schema = database() AND table_name = ?`,
	},
	"sqlite": {
		folder:       "sqlite",
		aliases:      true,
		prepare:      true,
		overwrite:    overwrite,
		ignore:       ` ON CONFLICT DO NOTHING`,
		insertIgnore: `INSERT INTO`, onConflict: ` ON CONFLICT DO NOTHING`,
		overwriteCounter: overwriteCounter,
		newestChange:     newestChange,
		// There is one writer at a time, and the token was written before.
		share: ``,
		// A write, so that this one is the writer before it reads.
		lock:     `UPDATE tokenauth_counters SET failures = failures`,
		columns:  `SELECT name FROM pragma_table_info(?)`,
		settings: `SELECT 'journal_mode', journal_mode FROM pragma_journal_mode`,
		rules:    sqliteRules,
		now:      `SELECT CAST(strftime('%s', 'now') AS INTEGER)`,
		exists:   `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?`,
	},
}
