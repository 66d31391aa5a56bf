package gormstore

import "database/sql"

// A dialect holds the differences between the database engines. This package writes its
// statements in SQLite's SQL with the default table prefix, and [database.sql]
// translates them.
type dialect struct {
	folder    string // this engine's folder in migrations
	numbered  bool   // whether placeholders are $1, $2, … instead of ?
	aliases   bool   // whether INSERT INTO … AS t is valid
	prepare   bool   // whether the store prepares its statements
	overwrite string // the conflict clause of an INSERT into tokens
	// the continuation of overwrite, if the INSERT also writes the columns that version
	// 6 of the schema added
	overwriteDevice string
	// the continuation of overwriteDevice, if the INSERT also writes the columns that
	// version 7 of the schema added
	overwriteRefresh string
	ignore           string // the conflict clause of an INSERT into users, which keeps an existing row
	share            string // a clause that makes a read wait for transactions that changed the row
	primary          string // an extra condition that makes a read fail at a standby
	update           string // a clause that makes a read lock its rows
	position         string // a function: the position of its second argument in the first, or 0
	lock             string // a statement that locks counters before they are read; may be ""
	// the beginning and the end of an INSERT that leaves an existing row as it is
	// and does not count it among the affected rows
	insertIgnore, onConflict string
	overwriteCounter         string // the conflict clause of an INSERT into counters
	newestChange             string // the conflict clause of an INSERT into revocations
	latestUse                string // the conflict clause of an INSERT into uses
	// whether, at the default isolation level, a DELETE that uses no index locks
	// every row that it reads
	locksWhatItReads bool
	exists           string // a query that counts the tables with a given name: 0 or 1
	columns          string // a query for the names of a table's columns
	tableOwner       string // the query trustedOwnerOfTable; "" if the owner need not be checked
	now              string // a query for the database's time, in Unix seconds
	isolation        string // a query for the isolation level; "" if any level works
	txOptions        []*sql.TxOptions
	settings         string // a query for the names and values of the session's settings
	tryBytes         string // a query that returns the bytes 0 and 255, to test the driver
	rules            []rule // the rules for the settings
	engines          string // a query for the storage engines of the tables that match a LIKE pattern
	guard            string // a condition that is true, or fails if the session has harmful settings
	truncates        bool   // whether the engine has a mode that cuts off long values
	// a LIMIT larger than any table. It is needed because sql_safe_updates requires a
	// LIMIT in some statements, and sql_select_limit applies to any SELECT without one
	unlimited string
}

// overwrite is the conflict clause of a sign-in's INSERT, for PostgreSQL and SQLite.
// It copies the earlier token's digest to the replaced column. In the clause for
// MariaDB and MySQL, this assignment must come before the one to digest, because
// these databases evaluate assignments from left to right and would otherwise copy
// the new digest.
//
// If the connection breaks, a driver may send a statement twice. The first WHEN then
// keeps a token from replacing itself. The second WHEN copies a value only if it is as
// long as a digest, so that a sign-in repairs a corrupt row.
const overwrite = ` ON CONFLICT (user_key, client_key) DO UPDATE SET
	replaced = CASE WHEN t.digest = excluded.digest THEN t.replaced WHEN length(t.digest) = 32 THEN t.digest END,
	digest = excluded.digest, format = excluded.format,
	issued_at = excluded.issued_at, expires_at = excluded.expires_at,
	client_id = excluded.client_id, user_id = excluded.user_id, user_name = excluded.user_name,
	roles = excluded.roles, attributes = excluded.attributes, stamp = excluded.stamp`

// overwriteDevice continues overwrite. A sign-in that names no device's name keeps the
// name from the sign-in before.
const overwriteDevice = `,
	device = excluded.device, device_name = CASE WHEN excluded.device_name = '' THEN t.device_name ELSE excluded.device_name END,
	issued_ms = excluded.issued_ms, lifetime = excluded.lifetime`

// overwriteRefresh continues overwriteDevice for a token with a refresh token. For any
// other token these columns stay as they are: they count only for the digest that they
// contain.
const overwriteRefresh = `, refresh = excluded.refresh, refresh_expires_at = excluded.refresh_expires_at`

// onPrimary is a condition that makes a read fail at a standby, where ended tokens
// may still exist. A check in [New] would not be enough, because it would cover only
// one connection. Other connections may lead to another server, now or after a
// failover.
//
// The server evaluates the condition before it reads rows, so the read fails even if
// no row matches. At a standby the condition casts the text atStandby to a boolean.
// The cast fails with an error that quotes the text.
const onPrimary = ` AND CASE WHEN (SELECT pg_catalog.pg_is_in_recovery()) THEN '` + atStandby + `' ELSE 'true' END::pg_catalog.bool`

const atStandby = `this connection leads to a standby, which lags behind the primary: connect the service to the primary only (set target_session_attrs=read-write in the DSN, and use no proxy that sends reads to standbys)`

const overwriteCounter = ` ON CONFLICT (counter_key) DO UPDATE SET
	failures = excluded.failures, failed_at = excluded.failed_at, pending = excluded.pending,
	pending_at = excluded.pending_at, succeeded_at = excluded.succeeded_at, forget_at = excluded.forget_at`

// unlimited is a LIMIT that is larger than any table.
const unlimited = ` LIMIT 9223372036854775807`

const newestChange = ` ON CONFLICT (kind, id) DO UPDATE SET change_id = excluded.change_id`

// guarded returns an expression that has the given value, or fails if the session has
// harmful settings.
func (d *dialect) guarded(value string) string {
	if d.guard == "" {
		return value
	}
	return `IF(` + d.guard + `, ` + value + `, NULL)`
}

// latestUse keeps the later time if two processes record the use of the same token.
const latestUse = ` ON CONFLICT (user_key, client_key) DO UPDATE SET digest = excluded.digest, used_at = excluded.used_at
	WHERE t.digest <> excluded.digest OR t.used_at < excluded.used_at`

// clearDevice continues overwrite for a token without these fields. The token before may
// have them, if the service used them before it was restarted.
const clearDevice = `, device = '', issued_ms = 0, lifetime = 0`

var dialects = map[string]dialect{
	"postgres": {
		folder:   "postgres",
		numbered: true,
		aliases:  true,
		// The store leaves this to the driver: pgx prepares and caches statements
		// itself, and services behind a proxy that pools transactions can turn that
		// off.
		prepare:   false,
		overwrite: overwrite, overwriteDevice: overwriteDevice, overwriteRefresh: overwriteRefresh,
		ignore:       ` ON CONFLICT DO NOTHING`,
		insertIgnore: `INSERT INTO`, onConflict: ` ON CONFLICT DO NOTHING`,
		overwriteCounter: overwriteCounter,
		newestChange:     newestChange,
		latestUse:        latestUse,
		share:            ` FOR SHARE`,
		primary:          onPrimary,
		update:           ` FOR UPDATE`,
		position:         `pg_catalog.strpos`,
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
		overwriteDevice: `,
			device = VALUES(device), device_name = IF(VALUES(device_name) = '', device_name, VALUES(device_name)),
			issued_ms = VALUES(issued_ms), lifetime = VALUES(lifetime)`,
		overwriteRefresh: `, refresh = VALUES(refresh), refresh_expires_at = VALUES(refresh_expires_at)`,
		ignore:           ` ON DUPLICATE KEY UPDATE id = id`,
		share:            ` LOCK IN SHARE MODE`,
		update:           unlimited + ` FOR UPDATE`,
		position:         `instr`,
		// INSERT IGNORE replaces ON DUPLICATE KEY here, because with ON DUPLICATE KEY
		// the number of affected rows would depend on clientFoundRows in the DSN.
		insertIgnore: `INSERT IGNORE INTO`,
		overwriteCounter: ` ON DUPLICATE KEY UPDATE
			failures = VALUES(failures), failed_at = VALUES(failed_at), pending = VALUES(pending),
			pending_at = VALUES(pending_at), succeeded_at = VALUES(succeeded_at), forget_at = VALUES(forget_at)`,
		newestChange: ` ON DUPLICATE KEY UPDATE change_id = VALUES(change_id)`,
		latestUse: ` ON DUPLICATE KEY UPDATE
			used_at = IF(digest = VALUES(digest), GREATEST(used_at, VALUES(used_at)), VALUES(used_at)), digest = VALUES(digest)`,
		locksWhatItReads: true, // at REPEATABLE READ
		// At READ COMMITTED, MySQL locks rows but not the gaps between them, so other
		// transactions can insert rows there.
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
		folder:    "sqlite",
		aliases:   true,
		prepare:   true,
		overwrite: overwrite, overwriteDevice: overwriteDevice, overwriteRefresh: overwriteRefresh,
		ignore:       ` ON CONFLICT DO NOTHING`,
		insertIgnore: `INSERT INTO`, onConflict: ` ON CONFLICT DO NOTHING`,
		overwriteCounter: overwriteCounter,
		newestChange:     newestChange,
		latestUse:        latestUse,
		// SQLite needs no lock for this read, because it has one writer at a time. So
		// any other change was committed before the caller's last write, or begins
		// after that write.
		share:    ``,
		position: `instr`,
		// This write makes the transaction the only writer before it reads.
		lock:     `UPDATE tokenauth_counters SET failures = failures`,
		columns:  `SELECT name FROM pragma_table_info(?)`,
		settings: `SELECT 'journal_mode', journal_mode FROM pragma_journal_mode`,
		rules:    sqliteRules,
		now:      `SELECT CAST(strftime('%s', 'now') AS INTEGER)`,
		exists:   `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?`,
	},
}
