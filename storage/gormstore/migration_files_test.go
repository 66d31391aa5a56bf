package gormstore_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
)

const migrationTools = `github.com/golang-migrate/migrate/v4 v4.20.1
github.com/pressly/goose/v3 v3.30.0`

// A migrationHost is a temporary module of a service that imports the migration tools.
type migrationHost struct{ dir string }

func newMigrationHost(t *testing.T) migrationHost {
	t.Helper()
	program, err := os.ReadFile("testdata/migrationtools/main.go")
	if err != nil {
		t.Fatal(err)
	}
	// The recipe calls go list, which needs this import to find the files.
	run := throwaway.Module(t, "../..", migrationTools, map[string]string{
		"main.go": string(program), "store.go": "package main\n\nimport _ \"github.com/bearerkit/bearerkit/storage/gormstore\"\n",
	})
	if out, err := run("build", "-o", "host", "."); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	mod, err := run("env", "GOMOD")
	if err != nil {
		t.Fatal(err)
	}
	return migrationHost{filepath.Dir(strings.TrimSpace(string(mod)))}
}

// recipes runs the scripts of the README for the folders and the prefix. It returns the
// folder in which it ran them.
func (h migrationHost) recipes(t *testing.T, folders, prefix string) string {
	t.Helper()
	blocks := readmeBlocks(t, "### As files", "sh", 2)
	recipe := strings.NewReplacer(`folders="postgres postgres_feed"`, `folders="`+folders+`"`, `prefix=tokenauth_ `, `prefix=`+prefix+` `).
		Replace("set -eu\n" + blocks[0] + blocks[1])
	dir, err := os.MkdirTemp(h.dir, "files")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", recipe)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the recipe: %v\n%s", err, out)
	}
	return dir
}

// A migrated is a database on which a migration tool works.
type migrated struct {
	host              migrationHost
	tool, engine, dsn string
	dir, prefix       string // of the files
	db                *gorm.DB
	options           *gormstore.Options
}

// do runs a command of the tool on a folder of SQL files.
func (m migrated) do(t *testing.T, folder string, command ...string) {
	t.Helper()
	files := map[string]string{"migrate": "migrations", "goose": "goose"}[m.tool]
	cmd := exec.CommandContext(t.Context(), filepath.Join(m.host.dir, "host"),
		append([]string{m.tool, m.engine, m.dsn, filepath.Join(m.dir, files, folder), m.table(folder)}, command...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s %v: %v\n%s", m.tool, folder, command, err, out)
	}
}

// table returns the name of the tool's table of versions.
func (m migrated) table(folder string) string {
	feed := ""
	if folder != m.engine {
		feed = "feed_"
	}
	return "tokenauth_" + feed + map[string]string{"migrate": "migrations", "goose": "goose"}[m.tool]
}

func (m migrated) up(t *testing.T) {
	t.Helper()
	m.do(t, m.engine, "up")
	if m.options.Feed {
		m.do(t, "postgres_feed", "up")
	}
}

// down migrates down, and checks that no table is left.
func (m migrated) down(t *testing.T) {
	t.Helper()
	if m.options.Feed {
		m.do(t, "postgres_feed", "down")
	}
	m.do(t, m.engine, "down")
	e := map[string]engine{"sqlite": engines[0], "postgres": engines[1], "mysql": engines[2]}[m.engine]
	for _, column := range schemaOf(t, e, m.db) {
		table, _, _ := strings.Cut(column, " ")
		if strings.HasPrefix(table, m.prefix) && !strings.HasSuffix(table, "_migrations") && !strings.HasSuffix(table, "_goose") {
			t.Errorf("after migrating down %s is left", column)
		}
	}
}

// works checks that New accepts the tables and that a user can sign in.
func (m migrated) works(t *testing.T, name string) {
	t.Helper()
	s, err := gormstore.New(t.Context(), m.db, m.options)
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, name)
	mustSignIn(t, service(t, s, s.Users()), name)
	if m.options.Feed {
		if _, err := gormstore.WithFeed(t.Context(), s, pgxfeed.Listener{}); err != nil {
			t.Error(err)
		}
	}
}

// adopt records in the tool's table the version that Migrate reached.
func (m migrated) adopt(t *testing.T) {
	t.Helper()
	schema := m.prefix + "schema"
	if m.tool == "migrate" {
		var version int
		if err := m.db.Raw("SELECT max(version) FROM " + schema).Scan(&version).Error; err != nil {
			t.Fatal(err)
		}
		m.do(t, m.engine, "force", fmt.Sprint(version))
		return
	}
	m.do(t, m.engine, "status")
	if err := m.db.Exec("INSERT INTO tokenauth_goose (version_id, is_applied) SELECT version, true FROM " + schema).Error; err != nil {
		t.Fatal(err)
	}
}

// golang-migrate and goose can apply the files. Migrate continues where a tool ended, and
// the tool continues where Migrate ended.
func TestMigrationsAsFiles(t *testing.T) {
	t.Parallel()
	if !throwaway.Long() {
		t.Skip("builds golang-migrate and goose; set TOKENAUTH_LONG=1")
	}
	host := newMigrationHost(t)
	for _, engine := range []string{"postgres", "mysql", "sqlite"} {
		for _, prefix := range []string{"tokenauth_", "auth_"} {
			folders := engine
			if engine == "postgres" {
				folders = "postgres postgres_feed"
			}
			dir := host.recipes(t, folders, prefix)
			for _, tool := range []string{"migrate", "goose"} {
				t.Run(engine+"/"+tool+"/"+prefix, func(t *testing.T) {
					fresh := func(t *testing.T) migrated {
						m := migrated{host: host, tool: tool, engine: engine, dir: dir, prefix: prefix}
						m.options = &gormstore.Options{TablePrefix: prefix, Feed: engine == "postgres"}
						m.dsn, m.db = openForTool(t, engine)
						return m
					}
					t.Run("up and down", func(t *testing.T) {
						m := fresh(t)
						m.up(t)
						m.works(t, "alice")
						m.down(t)
						m.up(t)
						m.works(t, "bob")
					})
					t.Run("Migrate continues", func(t *testing.T) {
						m := fresh(t)
						m.do(t, engine, fmt.Sprint(newest(t, engine)-1))
						if err := gormstore.Migrate(t.Context(), m.db, m.options); err != nil {
							t.Fatal(err)
						}
						m.works(t, "alice")
						m.adopt(t)
						m.up(t)
						m.works(t, "bob")
					})
					t.Run("the tool continues", func(t *testing.T) {
						m := fresh(t)
						if err := gormstore.Migrate(t.Context(), m.db, m.options); err != nil {
							t.Fatal(err)
						}
						m.adopt(t)
						m.up(t)
						m.works(t, "alice")
						m.down(t)
						m.up(t)
						m.works(t, "bob")
					})
				})
			}
		}
	}
}

// openForTool creates a database. It returns its DSN for the tool, and the database
// opened with GORM.
func openForTool(t *testing.T, engine string) (string, *gorm.DB) {
	t.Helper()
	quiet := &gorm.Config{Logger: logger.Discard}
	switch engine {
	case "postgres":
		dsn := throwaway.Postgres(t)
		return dsn, openDialector(t, postgres.Open(dsn), quiet)
	case "mysql":
		dsn := throwaway.MariaDB(t)
		return dsn + "?multiStatements=true", openDialector(t, mysql.Open(dsn), quiet)
	}
	dsn := sqliteDSN(t)
	return dsn, openDialector(t, gormlite.Open(dsn), quiet)
}

// newest returns the number of the newest file in a folder.
func newest(t *testing.T, folder string) int {
	t.Helper()
	files, err := fs.Glob(gormstore.Migrations, "migrations/"+folder+"/*.up.sql")
	if err != nil || len(files) < 2 {
		t.Fatalf("found %d files, error %v", len(files), err)
	}
	slices.Sort(files)
	var n int
	if _, err := fmt.Sscanf(filepath.Base(files[len(files)-1]), "%d_", &n); err != nil {
		t.Fatal(err)
	}
	return n
}
