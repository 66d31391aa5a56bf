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

// A database is the host's, as the store uses it.
type database struct {
	db      *gorm.DB // for transactions
	pool    gorm.ConnPool
	dialect dialect
	prefix  string // of the tables

	galera       bool   // the server is a node of a cluster
	galeraPrefix string // of statements there, or ""
}

// In a Galera cluster every node takes writes. When a commit returns, it has its
// place in the cluster's order, but other nodes apply it a moment later; and locks
// are a node's own. Of two transactions that change a row at two nodes, one ends in
// error 1213, at its commit at the latest.
//
// So each of our statements waits until its node has applied all that was committed
// before, at any node (wsrep_sync_wait). The statement says so itself: a setting
// would have to be right on every connection of the pool, and at every node. A node
// without a majority refuses it, whatever wsrep_dirty_reads is.
//
// In a transaction no statement waits. Ours wait before they begin.
const galeraWaits = `SET STATEMENT wsrep_sync_wait = 7, wsrep_dirty_reads = OFF FOR `

var galeraStatement = regexp.MustCompile(`^\s*(SELECT|INSERT|UPDATE|DELETE)\b`)

// open checks the host's database. It does not read the schema.
func open(db *gorm.DB, prefix string) (*database, error) {
	if db == nil || db.Statement == nil || db.Statement.ConnPool == nil {
		return nil, errors.New("gormstore: the database is nil or not open")
	}
	pool := db.Statement.ConnPool
	if _, ok := pool.(gorm.TxCommitter); ok {
		return nil, errors.New("gormstore: the database is a transaction; a store needs its connection pool")
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

// statement returns a statement that is run on the pool.
func (d *database) statement(text string) *statement {
	return &statement{text: d.sql(text), tries: d.tries(), pool: d.pool, prepare: d.dialect.prepare}
}

// tries is how often what the database rolled back is run at most. In a Galera
// cluster nobody waits for a lock of another node: of several that change the same
// rows there, all but one are rolled back, time after time.
func (d *database) tries() int {
	if d.galera {
		return 20
	}
	return 3
}

// sql rewrites a statement for the engine and the tables' prefix, and adds the
// dialect's guard to one with a WHERE.
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
