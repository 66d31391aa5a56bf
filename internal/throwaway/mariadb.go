package throwaway

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"syscall"

	"github.com/go-sql-driver/mysql"
)

// mariadb is the [engine] for MariaDB or, if that is not installed, MySQL.
type mariadb struct{ options []string }

func (mariadb) name() string { return "mariadb" }

func (e mariadb) commands(dir string) (setup, serve []string, err error) {
	places := []string{
		"/usr/sbin", "/usr/libexec",
		"/opt/homebrew/opt/mariadb*/bin", "/usr/local/opt/mariadb*/bin",
	}
	server, ok := find([]string{"mariadbd", "mysqld"}, places...)
	if !ok || !supported {
		return nil, nil, errMissing("no MariaDB server found; to get one: apt-get install mariadb-server, or brew install mariadb")
	}
	data := filepath.Join(dir, "data")
	if install, ok := find([]string{"mariadb-install-db", "mysql_install_db"}, places...); ok {
		// By default, only the system's root account could sign in as the
		// database's root user. The authentication method "normal" allows other
		// accounts, too. The option --force skips the host name look-up.
		setup = []string{
			install, "--no-defaults", "--datadir=" + data,
			"--auth-root-authentication-method=normal", "--skip-test-db", "--force", smallLog,
		}
	} else {
		setup = []string{server, "--no-defaults", "--initialize-insecure", "--datadir=" + data}
	}
	serve = []string{
		server, "--no-defaults", "--datadir=" + data, "--tmpdir=" + dir,
		"--socket=" + socket(dir), "--pid-file=" + filepath.Join(dir, "pid"),
		"--skip-networking", "--loose-mysqlx=OFF",
		"--max-connections=400", "--innodb-buffer-pool-size=32M",
		// With the value 2, a commit does not wait for the disk.
		smallLog, "--innodb-flush-log-at-trx-commit=2",
	}
	return setup, append(serve, e.options...), nil
}

// smallLog limits the redo log of a new server to 8 MB, instead of about 100
// MB.
const smallLog = "--loose-innodb-log-file-size=8M"

func (mariadb) signals() (stop, kill syscall.Signal) {
	return syscall.SIGTERM, syscall.SIGKILL
}

func socket(dir string) string { return filepath.Join(dir, "socket") }

func (mariadb) admin(dir string) string {
	config := mysql.NewConfig()
	config.User = "root"
	config.Net, config.Addr = "unix", socket(dir)
	config.DBName = "mysql"
	return config.FormatDSN()
}

// database keeps only the account, the address and the TLS configuration of
// dsn, because the tests choose the other parameters.
func (mariadb) database(dsn, name string) (string, error) {
	old, err := mysql.ParseDSN(dsn)
	if err != nil {
		return "", err
	}
	config := mysql.NewConfig()
	config.User, config.Passwd = old.User, old.Passwd
	config.Net, config.Addr = old.Net, old.Addr
	config.TLSConfig = old.TLSConfig
	config.DBName = name
	return config.FormatDSN(), nil
}

func (e mariadb) connect(dsn string) (connection, error) { return e.open(dsn) }

func (mariadb) open(dsn string) (*sql.DB, error) {
	config, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	config.Logger = &mysql.NopLogger{} // errors are normal while a server starts
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// drop ends the connections to the database first, because DROP DATABASE waits
// for their transactions.
func (mariadb) drop(ctx context.Context, db *sql.DB, name string) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "SET SESSION lock_wait_timeout = 1"); err != nil {
		return err
	}
	for {
		if err := disconnect(ctx, conn, name); err != nil {
			return err
		}
		_, err := conn.ExecContext(ctx, "DROP DATABASE IF EXISTS "+name)
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

func disconnect(ctx context.Context, conn *sql.Conn, name string) error {
	rows, err := conn.QueryContext(ctx, "SELECT id FROM information_schema.processlist WHERE db = ?", name)
	if err != nil {
		return err
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return err
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, id := range ids {
		conn.ExecContext(ctx, fmt.Sprintf("KILL %d", id)) // fails if the connection has ended already
	}
	return nil
}
