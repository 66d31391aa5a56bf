package stores

import (
	"net"
	"net/url"
	"strings"
	"time"

	sqldriver "github.com/go-sql-driver/mysql"
	"gorm.io/driver/mysql"
	"gorm.io/gorm"
)

// MySQL returns the database with a mysql:// URL.
func MySQL(storeURL string) (gorm.Dialector, error) {
	dsn, err := mysqlDSN(storeURL)
	if err != nil {
		return nil, err
	}
	return mysql.Open(dsn), nil
}

// mysqlDSN converts mysql://user:password@host:port/database to the driver's
// format. The parameter socket names a Unix socket instead of a host.
func mysqlDSN(storeURL string) (string, error) {
	if err := needsURL(storeURL); err != nil {
		return "", err
	}
	u, err := url.Parse(storeURL)
	if err != nil {
		return "", invalidURL("mysql")
	}
	c := sqldriver.NewConfig()
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.DBName = strings.TrimPrefix(u.Path, "/")
	if socket := u.Query().Get("socket"); socket != "" {
		c.Net, c.Addr = "unix", socket
	} else {
		port := u.Port()
		if port == "" {
			port = "3306"
		}
		c.Net, c.Addr = "tcp", net.JoinHostPort(u.Hostname(), port)
	}
	// Without timeouts, one connection that hangs would delay all others.
	c.Timeout, c.ReadTimeout = 2*time.Second, 10*time.Second
	return c.FormatDSN(), nil
}
