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

// A database is the host's database with all that statements depend on.
type database struct {
	db      *gorm.DB // for transactions
	pool    gorm.ConnPool
	dialect dialect
	prefix  string // of the table names

	galera       bool   // whether the server is a node of a Galera cluster
	galeraPrefix string // begins each statement there; may be ""
}

// galeraWaits makes a statement wait until its node of a Galera cluster has applied
// everything that was committed before at any node (wsrep_sync_wait).
//
// In such a cluster every node accepts writes. A commit returns when it has its place
// in the cluster's order; other nodes apply it a moment later. Locks do not reach
// other nodes: of two transactions that change one row at two nodes, one gets error
// 1213, at the latest when it commits.
//
// The option is part of each statement. A session setting would have to be correct on
// every connection of the pool and at every node. A node without a majority refuses
// the statement, because wsrep_dirty_reads is off.
//
// The option has no effect within a transaction, so the store waits before it begins
// one.
const galeraWaits = `SET STATEMENT wsrep_sync_wait = 7, wsrep_dirty_reads = OFF FOR `

var galeraStatement = regexp.MustCompile(`^\s*(SELECT|INSERT|UPDATE|DELETE)\b`)

// open checks db and prefix, and detects the dialect. It sends no statement.
func open(db *gorm.DB, prefix string) (*database, error) {
	if db == nil || db.Statement == nil || db.Statement.ConnPool == nil {
		return nil, errors.New("gormstore: the *gorm.DB is nil or not open")
	}
	pool := db.Statement.ConnPool
	if _, ok := pool.(gorm.TxCommitter); ok {
		return nil, errors.New("gormstore: the *gorm.DB is a transaction; give the one that gorm.Open returned")
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
		return nil, fmt.Errorf("gormstore: the dialect is %q, must be postgres, mysql or sqlite", db.Name())
	}
	return &database{
		db:      db.Session(&gorm.Session{NewDB: true, Logger: logger.Discard}),
		pool:    explaining{pool},
		dialect: d,
		prefix:  prefix,
	}, nil
}

// statement returns a statement that runs on the pool.
func (d *database) statement(text string) *statement {
	return &statement{text: d.sql(text), tries: d.tries(), pool: d.pool, prepare: d.dialect.prepare}
}

// tries returns how often to run a statement or transaction that the database keeps
// rolling back. Galera rolls back more often: its nodes do not wait for each other's
// locks. Of several transactions that change the same rows, all but one are rolled
// back each time.
func (d *database) tries() int {
	if d.galera {
		return 20
	}
	return 3
}

// sql translates a statement for the engine and the table prefix. It adds the
// dialect's guard to a statement that has a WHERE.
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
