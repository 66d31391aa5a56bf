package gormstore

import "strings"

// settings are those of a session, by name.
type settings map[string]string

func (s settings) on(name string) bool {
	value := strings.ToLower(s[name])
	return value == "on" || value == "1"
}

func (s settings) off(name string) bool {
	value := strings.ToLower(s[name])
	return value == "off" || value == "0"
}

// A rule says why a setting cannot stay, or "". No rule is about sessions that are
// read-only: a write is an error there, a service that only validates needs none, and
// one may start during maintenance.
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
			return "completion_type is " + value + ", must be NO_CHAIN: a commit would begin a transaction that nobody commits"
		}
		return ""
	},
	func(s settings) string {
		if from, to := s["character_set_client"], s["character_set_connection"]; from != to {
			return "character_set_client is " + from + " and character_set_connection " + to + ", must be the same: keys and names would be converted. Set both, by SET NAMES, or charset=utf8mb4 in the DSN"
		}
		return ""
	},
	func(s settings) string {
		for _, name := range []string{"transaction_isolation", "tx_isolation"} {
			if s[name] == "READ-UNCOMMITTED" {
				return name + " is READ-UNCOMMITTED, must be READ-COMMITTED or higher: changes that are rolled back would count"
			}
		}
		return ""
	},
	func(s settings) string {
		if s.off("unique_checks") {
			return "unique_checks is 0, must be 1: two users could have one name"
		}
		return ""
	},
	func(s settings) string {
		if strings.Contains(s["sql_mode"], "EMPTY_STRING_IS_NULL") {
			return "sql_mode has EMPTY_STRING_IS_NULL, must not: an empty text would not be found"
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
			return "PRAGMA journal_mode is OFF, must not: changes that are rolled back would stay"
		}
		return ""
	},
}

var postgresRules = []rule{
	func(s settings) string {
		if s["bytea_output"] == "escape" && s[readsBytes] != "true" {
			return "bytea_output is escape, must be hex in the simple protocol"
		}
		return ""
	},
}

// readsBytes is the setting that the driver reads bytes right: in the simple protocol
// they come as text.
const readsBytes = "(reads bytes)"
