package main

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	os.Exit(throwaway.Main(m))
}

// The database engines, with their names for the types of SQL Server.
var engines = map[string]struct {
	store func(*testing.T) string
	types *strings.Replacer
}{
	"sqlite": {
		func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "identity.db") },
		strings.NewReplacer(),
	},
	"postgres": {
		func(t *testing.T) string { return throwaway.Postgres(t) },
		strings.NewReplacer("[", `"`, "]", `"`, "nvarchar", "varchar", " bit ", " boolean ", "datetimeoffset", "timestamptz", "datetime", "timestamp"),
	},
	"mariadb": {
		func(t *testing.T) string { return "mysql://" + throwaway.MariaDB(t) },
		strings.NewReplacer("[", "`", "]", "`", "nvarchar(450)", "varchar(255)", "nvarchar", "varchar", "datetimeoffset", "datetime(6)", "+00:00", "", "+02:00", ""),
	},
}

// A site is the service on a database with the tables of Identity.
type site struct {
	engine, identity string
	db               *gorm.DB
	url              string
}

// onEach runs a test on each layout and on each database engine. It skips some
// pairs of them unless tests run their long variants.
func onEach(t *testing.T, keepHashes bool, test func(*testing.T, *site)) {
	t.Parallel()
	for engine := range engines {
		for identity := range layouts {
			if !throwaway.Long() && (engine == "postgres" && identity == "2" || engine == "mariadb" && identity == "core") {
				continue
			}
			t.Run(engine+"/"+identity, func(t *testing.T) {
				t.Parallel()
				test(t, newSite(t, engines[engine].store(t), engine, identity, keepHashes))
			})
		}
	}
}

func newSite(t *testing.T, store, engine, identity string, keepHashes bool) *site {
	t.Helper()
	s := &site{engine: engine, identity: identity}
	var err error
	if s.db, err = open(store); err != nil {
		t.Fatal(err)
	}
	pool, err := s.db.DB()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	for statement := range strings.SplitSeq(layouts[identity].example, ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		s.exec(t, engines[engine].types.Replace(statement))
	}

	auth, err := newAuth(t.Context(), s.db, layouts[identity], keepHashes, false)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(routes(auth))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// exec executes a statement in place of the old application. Its names are in
// double quotes.
func (s *site) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if err := s.db.Exec(s.quoted(sql), args...).Error; err != nil {
		t.Fatal(err)
	}
}

// column returns a column of a user's row as text.
func (s *site) column(t *testing.T, name, userName string) (text string) {
	t.Helper()
	if err := s.db.Raw(s.quoted(`SELECT "`+name+`" FROM "AspNetUsers" WHERE "UserName" = ?`), userName).Scan(&text).Error; err != nil {
		t.Fatal(err)
	}
	return text
}

// lock sets the end of the user's lockout.
func (s *site) lock(t *testing.T, userName, until string) {
	t.Helper()
	column := map[string]string{"2": "LockoutEndDateUtc", "core": "LockoutEnd"}[s.identity]
	s.exec(t, `UPDATE "AspNetUsers" SET "`+column+`" = ? WHERE "UserName" = ?`, until, userName)
}

func (s *site) quoted(sql string) string {
	if s.engine == "mariadb" {
		return strings.ReplaceAll(sql, `"`, "`")
	}
	return sql
}
