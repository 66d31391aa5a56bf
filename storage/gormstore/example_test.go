package gormstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// openExample opens a temporary SQLite database.
func openExample() (db *gorm.DB, remove func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	db, err = gorm.Open(gormlite.Open("file:" + filepath.Join(dir, "service.db")))
	if err != nil {
		panic(err)
	}
	return db, func() {
		if pool, err := db.DB(); err == nil {
			pool.Close()
		}
		os.RemoveAll(dir)
	}
}

func Example() {
	ctx := context.Background()
	db, remove := openExample() // the service's own *gorm.DB
	defer remove()

	if err := gormstore.Migrate(ctx, db, nil); err != nil {
		panic(err)
	}
	store, err := gormstore.New(ctx, db, nil)
	if err != nil {
		panic(err)
	}
	auth, err := tokenauth.New(store, store.Users(), nil)
	if err != nil {
		panic(err)
	}

	user, err := store.Users().Create(ctx, gormstore.User{Name: "alice", Roles: []string{"Reader"}}, tokenauth.NewSecret("correct horse"))
	if err != nil {
		panic(err)
	}
	grant, err := auth.SignIn(ctx, tokenauth.Credentials{UserName: "Alice", Password: tokenauth.NewSecret("correct horse")})
	if err != nil {
		panic(err)
	}
	token, err := auth.Validate(ctx, grant.AccessToken.Reveal())
	fmt.Println(token.Principal.UserName, token.Principal.Roles, err)

	// A change of the user ends the user's tokens.
	if err := store.Users().SetRoles(ctx, user.ID, "Reader", "Auditor"); err != nil {
		panic(err)
	}
	_, err = auth.Validate(ctx, grant.AccessToken.Reveal())
	fmt.Println(errors.Is(err, tokenauth.ErrInvalidToken))
	// Output:
	// alice [Reader] <nil>
	// true
}

// New returns an error if the tables are missing.
func ExampleNew_missingSchema() {
	db, remove := openExample()
	defer remove()
	_, err := gormstore.New(context.Background(), db, nil)
	fmt.Println(errors.Is(err, gormstore.ErrSchemaVersion))
	// Output: true
}

// A service changes a user and its own table in one transaction. The user's tokens end
// when the transaction commits.
func ExampleUsers_WithTx() {
	ctx := context.Background()
	db, remove := openExample()
	defer remove()
	if err := gormstore.Migrate(ctx, db, nil); err != nil {
		panic(err)
	}
	store, err := gormstore.New(ctx, db, nil)
	if err != nil {
		panic(err)
	}
	user, err := store.Users().Create(ctx, gormstore.User{Name: "alice"}, tokenauth.NewSecret("correct horse"))
	if err != nil {
		panic(err)
	}
	err = db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Exec("CREATE TABLE departures (user_id TEXT)").Error; err != nil {
			return err
		}
		if err := tx.Exec("INSERT INTO departures VALUES (?)", user.ID).Error; err != nil {
			return err
		}
		return store.Users().WithTx(tx).SetDisabled(ctx, user.ID, true)
	})
	if err != nil {
		panic(err)
	}
	user, err = store.Users().Find(ctx, user.ID)
	fmt.Println(user.Name, user.Disabled, err)
	// Output: alice true <nil>
}

// A service with its own users table disables a user and ends the user's tokens.
func ExampleStore_ChangeUser() {
	ctx := context.Background()
	db, remove := openExample()
	defer remove()
	if err := gormstore.Migrate(ctx, db, nil); err != nil {
		panic(err)
	}
	store, err := gormstore.New(ctx, db, nil)
	if err != nil {
		panic(err)
	}
	for _, statement := range []string{
		"CREATE TABLE employees (id TEXT, has_left BOOLEAN)",
		"INSERT INTO employees VALUES ('employee-17', false)",
	} {
		if err := db.Exec(statement).Error; err != nil {
			panic(err)
		}
	}
	users, err := password.New(func(context.Context, string) (password.Account, error) {
		return password.Account{}, tokenauth.ErrNotFound // look up the employee here
	}, nil)
	if err != nil {
		panic(err)
	}
	auth, err := tokenauth.New(store, users, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	issued, err := auth.Issue(ctx, tokenauth.Principal{UserID: "employee-17"}, nil)
	if err != nil {
		panic(err)
	}

	err = store.ChangeUser(ctx, "employee-17", func(tx *gorm.DB) error {
		return tx.Exec("UPDATE employees SET has_left = true WHERE id = ?", "employee-17").Error
	})
	if err != nil {
		panic(err)
	}
	_, err = auth.Validate(ctx, issued.AccessToken.Reveal())
	fmt.Println("the token is no longer valid:", errors.Is(err, tokenauth.ErrInvalidToken))

	// If the change fails, the user keeps the tokens.
	errNotFound := errors.New("no such employee")
	err = store.ChangeUser(ctx, "employee-18", func(tx *gorm.DB) error {
		changed := tx.Exec("UPDATE employees SET has_left = true WHERE id = ?", "employee-18")
		if changed.Error == nil && changed.RowsAffected == 0 {
			return errNotFound
		}
		return changed.Error
	})
	fmt.Println(err)
	// Output:
	// the token is no longer valid: true
	// no such employee
}

// List the SQL files, for a migration tool of your own.
func ExampleMigrations() {
	entries, err := gormstore.Migrations.ReadDir("migrations/postgres")
	if err != nil {
		panic(err)
	}
	for _, entry := range entries {
		fmt.Println(entry.Name())
	}
	// Output:
	// 0001_init.down.sql
	// 0001_init.up.sql
	// 0002_counters.down.sql
	// 0002_counters.up.sql
	// 0003_clients.down.sql
	// 0003_clients.up.sql
	// 0004_introspection.down.sql
	// 0004_introspection.up.sql
	// 0005_revocations.down.sql
	// 0005_revocations.up.sql
	// 0006_devices.down.sql
	// 0006_devices.up.sql
	// 0007_refresh.down.sql
	// 0007_refresh.up.sql
}

func ExampleUsers_NormalizeUserName() {
	for _, name := range []string{"Alice", "ＡＬＩＣＥ", " Alice@Example.com ", "not a name"} {
		fmt.Printf("%q\n", new(gormstore.Users).NormalizeUserName(name))
	}
	// Output:
	// "alice"
	// "alice"
	// "alice@example.com"
	// "not a name"
}

// The cache needs a feed, through which the database reports ended tokens. Only
// PostgreSQL has one.
func ExampleWithFeed() {
	run := func(ctx context.Context, db *gorm.DB) (*tokenauth.Service, error) {
		options := &gormstore.Options{Feed: true}
		if err := gormstore.Migrate(ctx, db, options); err != nil { // also installs the trigger
			return nil, err
		}
		store, err := gormstore.New(ctx, db, options)
		if err != nil {
			return nil, err
		}
		watched, err := gormstore.WithFeed(ctx, store, pgxfeed.Listener{})
		if err != nil {
			return nil, err
		}
		return tokenauth.New(watched, store.Users(), &tokenauth.Options{Cache: &tokenauth.CacheOptions{}})
	}

	db, remove := openExample() // SQLite, which does not notify of changes
	defer remove()
	_, err := run(context.Background(), db)
	fmt.Println(err)
	// Output: gormstore: the feed of changes is not available: sqlite cannot notify of changes, only PostgreSQL can
}

// Replace a client's secret without an interruption: both secrets are valid in between.
func ExampleClients_RotateSecret() {
	ctx := context.Background()
	db, remove := openExample()
	defer remove()
	if err := gormstore.Migrate(ctx, db, nil); err != nil {
		panic(err)
	}
	store, err := gormstore.New(ctx, db, nil)
	if err != nil {
		panic(err)
	}
	clients := store.Clients()
	if _, err := clients.Create(ctx, tokenauth.Client{ID: "web"}); err != nil {
		panic(err)
	}
	newSecret, err := clients.RotateSecret(ctx, "web") // configure the application with it, then drop the old one
	if err != nil {
		panic(err)
	}
	fmt.Println(newSecret) // prints "[redacted]"; Reveal returns the text
	client, _ := clients.FindClient(ctx, "web")
	fmt.Println(len(client.Secrets), "secrets are valid")
	if err := clients.DropOldSecret(ctx, "web"); err != nil {
		panic(err)
	}
	client, _ = clients.FindClient(ctx, "web")
	fmt.Println(len(client.Secrets), "secret is valid")
	// Output:
	// [redacted]
	// 2 secrets are valid
	// 1 secret is valid
}
