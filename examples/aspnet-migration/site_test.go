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

// The engines, with what SQL Server's types are called there.
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

// A site is the service in front of the tables that another application left.
type site struct {
	engine, identity string
	db               *gorm.DB
	url              string
}

// onEach runs a test on the tables of each Identity and in each database. Not in
// each pair of them, unless tests run their long variants.
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

	auth, err := newAuth(t.Context(), s.db, layouts[identity], keepHashes)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(routes(auth))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// exec does what the old application would, in SQL with names in quotes.
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

// lock has the user locked out until then.
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
