package pgxfeed_test

import (
	"context"
	"fmt"
	"log"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Validate tokens from memory, with a cache that PostgreSQL's notifications keep current.
func Example() {
	ctx := context.Background()
	db, err := gorm.Open(postgres.Open("postgres://service:secret@db/service?connect_timeout=1"))
	if err != nil {
		log.Fatal(err)
	}
	options := &gormstore.Options{Feed: true}
	if err := gormstore.Migrate(ctx, db, options); err != nil { // also installs the trigger
		log.Fatal(err)
	}
	store, err := gormstore.New(ctx, db, options)
	if err != nil {
		log.Fatal(err)
	}
	watched, err := gormstore.WithFeed(ctx, store, pgxfeed.Listener{})
	if err != nil {
		log.Fatal(err)
	}
	auth, err := tokenauth.New(watched, store.Users(), &tokenauth.Options{Cache: &tokenauth.CacheOptions{}})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(auth.Run(ctx)) // a service calls: go auth.Run(ctx)
}

// Behind PgBouncer the Listener needs a DSN that leads to PostgreSQL directly.
func ExampleListener() {
	fromPool := pgxfeed.Listener{}
	direct := pgxfeed.Listener{DSN: "postgres://service:secret@db:5432/service?connect_timeout=1"}
	fmt.Println("takes a connection from the pool:", fromPool.UsesPool())
	fmt.Println("behind PgBouncer:", direct.UsesPool())
	// Output:
	// takes a connection from the pool: true
	// behind PgBouncer: false
}
