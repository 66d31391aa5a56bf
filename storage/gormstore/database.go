package gormstore

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

const defaultPrefix = "tokenauth_"

var prefixPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// A database is the service's database, with everything needed to build and run
// statements.
type database struct {
	db      *gorm.DB // for transactions
	host    *gorm.DB // like db, but with the service's logger, for code of the service
	pool    gorm.ConnPool
	dialect dialect
	prefix  string // the beginning of each table's name

	galera       bool   // whether the server is a Galera node
	galeraPrefix string // galeraWaits, or "" if statements need no prefix
}

// galeraWaits is the prefix of a statement in a Galera cluster. It makes the statement
// wait until its node has applied everything that any node committed before
// (wsrep_sync_wait).
//
// In a Galera cluster, every node accepts writes. A commit returns as soon as the
// cluster has fixed the order of the transactions. Other nodes apply the transaction
// a moment later. A lock has effect only at the node that took it. If two transactions
// change the same row at two nodes, one of them gets error 1213, at the latest when it
// commits.
//
// The setting is part of each statement, because a session setting would have to be
// correct on every connection in the pool and at every node. With wsrep_dirty_reads
// off, a node that is cut off from the majority of the cluster refuses the statement.
//
// The prefix has no effect within a transaction. So, before the store begins a
// transaction, it runs a statement with the prefix.
const galeraWaits = `SET STATEMENT wsrep_sync_wait = 7, wsrep_dirty_reads = OFF FOR `

var galeraStatement = regexp.MustCompile(`^\s*(SELECT|INSERT|UPDATE|DELETE)\b`)

// open checks db and prefix, and selects the dialect. It does not query the database.
func open(db *gorm.DB, prefix string) (*database, error) {
	if db == nil || db.Statement == nil || db.Statement.ConnPool == nil {
		return nil, errors.New("gormstore: the *gorm.DB is nil or not open")
	}
	pool := db.Statement.ConnPool
	if _, ok := pool.(gorm.TxCommitter); ok {
		return nil, errors.New("gormstore: the *gorm.DB is a transaction; pass the one that gorm.Open returned")
	}
	if err := checkPool(db); err != nil {
		return nil, err
	}
	if prefix == "" {
		prefix = defaultPrefix
	}
	if !prefixPattern.MatchString(prefix) {
		return nil, fmt.Errorf("gormstore: Options.TablePrefix is %q, must be 1 to 32 lower-case letters, digits and '_', beginning with a letter", prefix)
	}
	d, ok := dialects[db.Name()]
	if !ok {
		return nil, fmt.Errorf("gormstore: the GORM dialect is %q, must be postgres, mysql or sqlite", db.Name())
	}
	return &database{
		db:      db.Session(&gorm.Session{NewDB: true, Logger: logger.Discard}),
		host:    db.Session(&gorm.Session{NewDB: true}),
		pool:    explaining{pool},
		dialect: d,
		prefix:  prefix,
	}, nil
}

// statement returns a statement with the given text. The text must be written as
// [dialect] describes.
func (d *database) statement(text string) *statement {
	return &statement{text: d.sql(text), tries: d.tries(), pool: d.pool, prepare: d.dialect.prepare}
}

// tries returns how many times, at most, to run a statement or transaction that the
// database keeps rolling back. Galera rolls back more often than a single server,
// because its nodes do not wait for each other's locks. If several transactions change
// the same rows at once, only one of them succeeds, and the others must run again.
func (d *database) tries() int {
	if d.galera {
		return 20
	}
	return 3
}

// sql translates a statement for the engine and the table prefix. If the statement uses
// one of this package's tables, sql adds the dialect's guard to the first WHERE of the
// statement.
func (d *database) sql(text string) string {
	if d.dialect.guard != "" && strings.Contains(text, defaultPrefix) {
		text = strings.Replace(text, " WHERE ", " WHERE "+d.dialect.guard+" AND ", 1)
	}
	text = strings.ReplaceAll(text, defaultPrefix, d.prefix)
	if d.galeraPrefix != "" && galeraStatement.MatchString(text) {
		text = d.galeraPrefix + text
	}
	if !d.dialect.aliases {
		text = strings.Replace(text, " AS t\n", "\n", 1)
	}
	if !d.dialect.numbered {
		return text
	}
	var b strings.Builder
	n := 0
	for _, r := range text {
		if r == '?' {
			n++
			b.WriteString("$" + strconv.Itoa(n))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
