package gormstore_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// exampleStore opens a store in a temporary SQLite database.
func exampleStore(o *gormstore.Options) (store *gormstore.Store, remove func()) {
	ctx := context.Background()
	db, remove := openExample()
	if err := gormstore.Migrate(ctx, db, o); err != nil {
		panic(err)
	}
	store, err := gormstore.New(ctx, db, o)
	if err != nil {
		panic(err)
	}
	return store, remove
}

// A user changes the password and stays signed in on the device that asked for it.
func ExampleUsers_SetPassword() {
	ctx := context.Background()
	store, remove := exampleStore(nil)
	defer remove()
	users := store.Users()
	auth, err := tokenauth.New(store, users, nil)
	if err != nil {
		panic(err)
	}
	user, err := users.Create(ctx, gormstore.User{Name: "alice"}, tokenauth.NewSecret("correct horse"))
	if err != nil {
		panic(err)
	}
	signIn := func(clientID string) tokenauth.IssuedToken {
		issued, err := auth.SignIn(ctx, tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("correct horse"), ClientID: clientID})
		if err != nil {
			panic(err)
		}
		return issued
	}
	phone, laptop := signIn("phone"), signIn("laptop")

	token, err := auth.Validate(ctx, phone.AccessToken.Reveal()) // in a handler: tokenauth.FromContext
	if err != nil {
		panic(err)
	}
	if err := users.SetPassword(ctx, user.ID, tokenauth.NewSecret("battery staple"), token); err != nil {
		panic(err)
	}
	_, err = auth.Validate(ctx, phone.AccessToken.Reveal())
	fmt.Println("phone:", err)
	_, err = auth.Validate(ctx, laptop.AccessToken.Reveal())
	fmt.Println("laptop:", err)
	// Output:
	// phone: <nil>
	// laptop: tokenauth: the access token is invalid
}

// Issue a token after single sign-on. It ends when the user changes, and a disabled user
// gets none.
func ExampleUsers_Principal() {
	ctx := context.Background()
	store, remove := exampleStore(nil)
	defer remove()
	users := store.Users()
	auth, err := tokenauth.New(store, users, &tokenauth.Options{LiveCheck: users.LiveCheck})
	if err != nil {
		panic(err)
	}
	user, err := users.Create(ctx, gormstore.User{Name: "alice", Roles: []string{"Reader"}}, tokenauth.NewSecret("correct horse"))
	if err != nil {
		panic(err)
	}

	p, err := users.Principal(ctx, user.ID)
	if err != nil {
		panic(err)
	}
	issued, err := auth.Issue(ctx, p, &tokenauth.IssueOptions{Recheck: true})
	if err != nil {
		panic(err)
	}
	token, err := auth.Validate(ctx, issued.AccessToken.Reveal())
	fmt.Println(token.Principal.UserName, token.Principal.Roles, err)

	if err := users.SetDisabled(ctx, user.ID, true); err != nil {
		panic(err)
	}
	_, err = users.Principal(ctx, user.ID)
	fmt.Println(errors.Is(err, tokenauth.ErrRejected))
	// Output:
	// alice [Reader] <nil>
	// true
}

// Read all users, a page at a time.
func ExampleUsers_List() {
	ctx := context.Background()
	store, remove := exampleStore(&gormstore.Options{SpacesInNames: true})
	defer remove()
	users := store.Users()
	const hash = "$2a$04$cdgQl.GeW80aZy9AgyLEyeWg3Kzd8VkWsucB7tlxTTdzAiifhkcLy"
	for _, name := range []string{"carol", "Anna Maria", "bob"} {
		if _, err := users.Import(ctx, gormstore.User{Name: name}, hash); err != nil {
			panic(err)
		}
	}
	const limit = 2
	for after, last := "", false; !last; {
		page, err := users.List(ctx, gormstore.ListOptions{After: after, Limit: limit})
		if err != nil {
			panic(err)
		}
		for _, user := range page {
			fmt.Println(user.Name)
			after = user.Name
		}
		last = len(page) < limit
	}
	// Output:
	// Anna Maria
	// bob
	// carol
}

// Move a user with the ID and the password hash of an earlier table.
func ExampleUsers_Import() {
	ctx := context.Background()
	store, remove := exampleStore(nil)
	defer remove()
	const hash = "$2a$04$cdgQl.GeW80aZy9AgyLEyeWg3Kzd8VkWsucB7tlxTTdzAiifhkcLy"
	user, err := store.Users().Import(ctx, gormstore.User{ID: "17", Name: "alice"}, hash)
	fmt.Println(user.ID, user.Name, err)
	_, err = store.Users().Import(ctx, gormstore.User{ID: "17", Name: "bob"}, hash)
	fmt.Println(errors.Is(err, gormstore.ErrExists), err)
	// Output:
	// 17 alice <nil>
	// true gormstore: already exists: a user with that ID
}

func ExampleUsers_Rename() {
	ctx := context.Background()
	store, remove := exampleStore(nil)
	defer remove()
	user, err := store.Users().Create(ctx, gormstore.User{Name: "alice"}, tokenauth.NewSecret("correct horse"))
	if err != nil {
		panic(err)
	}
	if err := store.Users().Rename(ctx, user.ID, "Alice.Smith"); err != nil {
		panic(err)
	}
	user, err = store.Users().FindByName(ctx, "alice.smith")
	fmt.Println(user.Name, err)
	// Output: Alice.Smith <nil>
}

// Restrict a client to users with a role. The client's tokens end.
func ExampleClients_Update() {
	ctx := context.Background()
	store, remove := exampleStore(nil)
	defer remove()
	clients := store.Clients()
	if _, err := clients.Create(ctx, tokenauth.Client{ID: "back-office"}); err != nil {
		panic(err)
	}
	client, err := clients.FindClient(ctx, "back-office")
	if err != nil {
		panic(err)
	}
	client.Roles = []string{"Auditor"}
	if err := clients.Update(ctx, client); err != nil {
		panic(err)
	}
	client, err = clients.FindClient(ctx, "back-office")
	fmt.Println(client.Roles, len(client.Secrets), err)
	// Output: [Auditor] 1 <nil>
}
