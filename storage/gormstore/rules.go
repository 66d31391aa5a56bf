package gormstore

import "strings"

// settings holds the settings of a database session, by name.
type settings map[string]string

func (s settings) on(name string) bool {
	value := strings.ToLower(s[name])
	return value == "on" || value == "1"
}

func (s settings) off(name string) bool {
	value := strings.ToLower(s[name])
	return value == "off" || value == "0"
}

// A rule returns the reason why a setting must change, or "" if no setting must.
//
// No rule refuses a read-only session, because writes fail there with an error, so no
// change is lost. Besides, a service that only validates tokens does not write, and
// any service may start while the database is read-only for maintenance.
type rule func(settings) string

var mysqlRules = []rule{
	func(s settings) string {
		if s.off("autocommit") {
			return "autocommit is 0, must be 1: nothing would be committed"
		}
		return ""
	},
	func(s settings) string {
		if value := s["completion_type"]; value != "NO_CHAIN" && value != "" {
			return "completion_type is " + value + ", must be NO_CHAIN: each commit would begin a new transaction, which is never committed"
		}
		return ""
	},
	func(s settings) string {
		if from, to := s["character_set_client"], s["character_set_connection"]; from != to {
			return "character_set_client is " + from + " and character_set_connection " + to + ", must be the same: the server would convert keys and names. Set both with SET NAMES, or with charset=utf8mb4 in the DSN"
		}
		return ""
	},
	func(s settings) string {
		for _, name := range []string{"transaction_isolation", "tx_isolation"} {
			if s[name] == "READ-UNCOMMITTED" {
				return name + " is READ-UNCOMMITTED, must be READ-COMMITTED or higher: reads would see changes that are rolled back later"
			}
		}
		return ""
	},
	func(s settings) string {
		if s.off("unique_checks") {
			return "unique_checks is 0, must be 1: two users could have the same name"
		}
		return ""
	},
	func(s settings) string {
		if strings.Contains(s["sql_mode"], "EMPTY_STRING_IS_NULL") {
			return "sql_mode has EMPTY_STRING_IS_NULL, must not: empty strings would become NULL"
		}
		return ""
	},
	func(s settings) string {
		if s.on("log_bin") && !s.off("sql_log_bin") && s["binlog_format"] == "STATEMENT" {
			return "binlog_format is STATEMENT, must be ROW or MIXED: InnoDB refuses to write at READ COMMITTED (error 1665)"
		}
		return ""
	},
}

var sqliteRules = []rule{
	func(s settings) string {
		if s["journal_mode"] == "off" {
			return "PRAGMA journal_mode is OFF, must not be: SQLite could not roll changes back"
		}
		return ""
	},
}

var postgresRules = []rule{
	func(s settings) string {
		if s["bytea_output"] == "escape" && s[readsBytes] != "true" {
			return "bytea_output is escape, must be hex: in the simple protocol, the driver decodes bytes only from hex"
		}
		return ""
	},
}

// readsBytes is the key under which tryDriver stores its result in settings. No
// setting has this name. The value is "true" if the driver decodes bytea correctly. A
// driver may fail to do so in the simple protocol, because the server then sends
// bytea as text, in the format that bytea_output selects.
const readsBytes = "(reads bytes)"
