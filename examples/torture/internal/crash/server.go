package crash

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
)

// connections returns the IDs of the server's client connections, except those of
// books. SQLite has no connections.
func (b *books) connections(ctx context.Context) (ids map[int64]bool, err error) {
	ids = make(map[int64]bool)
	var query string
	switch b.name {
	case "redis":
		list, err := b.redis.Do(ctx, b.redis.B().ClientList().Build()).ToString()
		for line := range strings.Lines(list) {
			first, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " ")
			if id, err := strconv.ParseInt(first, 10, 64); err == nil && !strings.Contains(line, "name="+booksName) {
				ids[id] = true
			}
		}
		return ids, err
	case "postgres":
		query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
	case "mariadb", "mysql":
		query = "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"
	default:
		return ids, nil
	}
	rows, err := b.db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids[id] = true
	}
	return ids, rows.Err()
}

// awaitSilence returns when no connections are left except those of before. A server
// may complete the last request of a killed client a moment later.
func (b *books) awaitSilence(ctx context.Context, before map[int64]bool) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		now, err := b.connections(ctx)
		if err != nil {
			return err
		}
		maps.DeleteFunc(now, func(id int64, _ bool) bool { return before[id] })
		if len(now) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("crash: %d connections of the killed service are still open after a minute", len(now))
		}
	}
}

// durability returns the server's settings that decide when a write is durable.
func (b *books) durability(ctx context.Context) (string, error) {
	var said []string
	var err error
	ask := func(name, query string) {
		var value string
		err = errors.Join(err, b.db.QueryRowContext(ctx, query).Scan(&value))
		said = append(said, name+" "+value)
	}
	switch b.name {
	case "postgres":
		ask("fsync", "SHOW fsync")
		ask("synchronous_commit", "SHOW synchronous_commit")
		ask("full_page_writes", "SHOW full_page_writes")
	case "mariadb", "mysql":
		ask("innodb_flush_log_at_trx_commit", "SELECT @@innodb_flush_log_at_trx_commit")
		ask("innodb_doublewrite", "SELECT @@innodb_doublewrite")
	case "sqlite":
		ask("journal_mode", "PRAGMA journal_mode")
		ask("synchronous", "PRAGMA synchronous")
	case "redis":
		var m map[string]string
		m, err = b.redis.Do(ctx, b.redis.B().ConfigGet().Parameter("append*").Build()).AsStrMap()
		for _, name := range []string{"appendonly", "appendfsync"} {
			said = append(said, name+" "+m[name])
		}
	}
	return strings.Join(said, ", "), err
}

// syncAlways makes Redis sync each write before it answers. By default it may sync
// up to two seconds later. Redis loses the setting when it ends.
func (b *books) syncAlways(ctx context.Context) error {
	if b.redis == nil {
		return nil
	}
	return b.redis.Do(ctx, b.redis.B().ConfigSet().ParameterValue().ParameterValue("appendfsync", "always").Build()).Error()
}
