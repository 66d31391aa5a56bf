package gormstore_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

func TestRename(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx, users, auth := t.Context(), s.Users(), service(t, s, s.Users())
		alice := create(t, s, "alice")
		create(t, s, "bob")
		for _, name := range []string{"Alice", "carol", "carol"} { // another case, another name, the same name
			if err := users.Rename(ctx, alice.ID, name); err != nil {
				t.Errorf("renaming to %q: %v", name, err)
			}
			issued, err := signIn(ctx, auth, name, "password")
			if err != nil || issued.Token.Principal.UserID != alice.ID || issued.Token.Principal.UserName != name {
				t.Errorf("signing in as %q: %+v, error %v", name, issued.Token.Principal, err)
			}
		}
		if _, err := users.FindByName(ctx, "alice"); !errors.Is(err, tokenauth.ErrNotFound) {
			t.Errorf("finding the old name: error %v, want ErrNotFound", err)
		}
		create(t, s, "alice") // the old name is free
		err := db.Transaction(func(tx *gorm.DB) error {
			users := users.WithTx(tx)
			for name, want := range map[string]error{
				"ＢＯＢ": gormstore.ErrExists, "a b": gormstore.ErrInvalid, " dave": gormstore.ErrInvalid, "": gormstore.ErrInvalid,
				strings.Repeat("x", 257): gormstore.ErrInvalid,
			} {
				if err := users.Rename(ctx, alice.ID, name); !errors.Is(err, want) {
					t.Errorf("renaming to %q: error %v, want %v", name, err, want)
				}
			}
			if err := users.Rename(ctx, "no-id", "dave"); !errors.Is(err, tokenauth.ErrNotFound) {
				t.Errorf("renaming an unknown user: error %v, want ErrNotFound", err)
			}
			return users.Rename(ctx, alice.ID, "Carol") // the transaction remains usable after these errors
		})
		if found, findErr := users.Find(ctx, alice.ID); err != nil || findErr != nil || found.Name != "Carol" {
			t.Errorf("found %+v, errors %v, %v", found, err, findErr)
		}
	})
}

// Several users are renamed to one name, and a user is created with it, at the same
// moment. One of them gets the name.
func TestConcurrentRenamesGiveANameToOneUser(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		concurrentRenames(t, []*gormstore.Store{s, s}, long(20))
	})
}

func concurrentRenames(t *testing.T, stores []*gormstore.Store, rounds int) {
	t.Helper()
	for round := range rounds {
		name := newName("wanted")
		var got atomic.Int64
		var wg sync.WaitGroup
		for i := range 4 {
			s := stores[i%len(stores)]
			user := create(t, s, newName("user"))
			wg.Go(func() {
				var err error
				if i == 0 {
					_, err = s.Users().Import(t.Context(), gormstore.User{Name: name}, cheapHash())
				} else {
					err = s.Users().Rename(t.Context(), user.ID, name)
				}
				if err == nil {
					got.Add(1)
				} else if !errors.Is(err, gormstore.ErrExists) {
					t.Errorf("error %v, want ErrExists", err)
				}
			})
		}
		wg.Wait()
		if n := got.Load(); n != 1 {
			t.Errorf("round %d: %d users got the name", round, n)
		}
	}
}

func TestSetAttributes(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		ctx, auth := t.Context(), service(t, s, s.Users())
		user := create(t, s, "alice")
		for _, want := range []map[string]string{{"tenant": "ä\"<", "plan": "gold"}, {"tenant": "b"}, nil} {
			if err := s.Users().SetAttributes(ctx, user.ID, want); err != nil {
				t.Fatal(err)
			}
			issued, err := signIn(ctx, auth, "alice", "password")
			if err != nil || !maps.Equal(issued.Token.Principal.Attributes, want) {
				t.Errorf("the attributes are %v, error %v, want %v", issued.Token.Principal.Attributes, err, want)
			}
		}
		bad := []map[string]string{{"": "b"}, {"a": "\x00"}, {"a\xff": ""}}
		if e.name == "mariadb" { // the only one of the three that would cut the text off
			bad = append(bad, map[string]string{"a": strings.Repeat("x", 65536)})
		}
		for _, attributes := range bad {
			if err := s.Users().SetAttributes(ctx, user.ID, attributes); !errors.Is(err, gormstore.ErrInvalid) {
				t.Errorf("%.20q: error %v, want ErrInvalid", attributes, err)
			}
		}
		if err := s.Users().SetAttributes(ctx, "no-id", nil); !errors.Is(err, tokenauth.ErrNotFound) {
			t.Errorf("an unknown user: error %v, want ErrNotFound", err)
		}
	})
}

// Each of 10,000 users is on exactly one page, although other users are added and
// removed between all pages.
func TestListSkipsNoUser(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		db := e.open(t, &gorm.Config{Logger: logger.Discard}) // not a line for each slow INSERT
		s := newStore(t, db, nil)
		ctx, users := t.Context(), s.Users()
		const n = 10_000
		const batch = 500
		for i := 0; i < n; i += batch {
			var rows []any
			for j := range batch {
				name := fmt.Sprintf("user-%05d", (i+j)*7919%n)
				rows = append(rows, fmt.Sprint(i+j), name, strings.ToUpper(name), j%2 == 0)
			}
			const row = `(?, ?, ?, '', 'Reader', '{}', ?, '', 0)`
			if err := db.Exec(`INSERT INTO tokenauth_users (id, name_key, name, password_hash, roles, attributes, disabled, stamp, created_at)
				VALUES `+row+strings.Repeat(", "+row, batch-1), rows...).Error; err != nil {
				t.Fatal(err)
			}
		}
		seen := make(map[string]int)
		pages := 0
		for after := ""; ; pages++ {
			page, err := users.List(ctx, gormstore.ListOptions{After: after, Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			for i, user := range page {
				if strings.HasPrefix(user.Name, "USER-") {
					seen[user.Name]++
				}
				if i > 0 && user.Name <= page[i-1].Name && strings.HasPrefix(user.Name, "USER-") && strings.HasPrefix(page[i-1].Name, "USER-") {
					t.Errorf("%s follows %s", user.Name, page[i-1].Name)
				}
			}
			if len(page) < 1000 {
				break
			}
			after = page[len(page)-1].Name
			for _, name := range []string{fmt.Sprint("aaa", pages), fmt.Sprint("zzz", pages), "user-00000-" + fmt.Sprint(pages)} {
				create(t, s, name)
			}
			gone, err := users.FindByName(ctx, fmt.Sprint("aaa", pages))
			if err != nil {
				t.Fatal(err)
			}
			if err := users.Delete(ctx, gone.ID); err != nil {
				t.Fatal(err)
			}
		}
		once := 0
		for i := range n {
			if seen[fmt.Sprintf("USER-%05d", i)] == 1 {
				once++
			}
		}
		if once != n || pages < 10 {
			t.Errorf("%d of %d users are on exactly one of %d pages", once, n, pages+1)
		}
		found, err := users.List(ctx, gormstore.ListOptions{Search: "R-0999"})
		if err != nil || len(found) != 10 || found[0].Name != "USER-09990" || !slices.Equal(found[0].Roles, []string{"Reader"}) {
			t.Errorf("searching found %+v, error %v", found, err)
		}
	})
}

// A search finds each name that has the text, whatever its case, width or Unicode form.
// No character of the text is a wildcard.
func TestListSearches(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s := newStore(t, e.open(t, nil), &gormstore.Options{SpacesInNames: true, Passwords: &password.Options{KeepHashes: true}})
		ctx, users := t.Context(), s.Users()
		for _, name := range []string{"Anna Maria", "Anna", "50%", "5", "snake_case", "snakexcase", "back\\slash", "pipe|pipe", "J\u00fcrgen", "o'hara", "山田\u3000太郎"} {
			create(t, s, name)
		}
		for search, want := range map[string][]string{
			"ANNA":     {"Anna", "Anna Maria"},
			"a  m":     {"Anna Maria"},
			"anna ":    {"Anna Maria"},
			"％":        {"50%"},
			"_":        {"snake_case"},
			"\\":       {"back\\slash"},
			"|":        {"pipe|pipe"},
			"U\u0308R": {"J\u00fcrgen"},
			"'":        {"o'hara"},
			"田 太":      {"山田\u3000太郎"},
			"nobody":   nil,
			"\x01":     nil,
		} {
			found, err := users.List(ctx, gormstore.ListOptions{Search: search})
			var names []string
			for _, user := range found {
				names = append(names, user.Name)
			}
			if err != nil || !slices.Equal(names, want) {
				t.Errorf("searching %q finds %q, error %v, want %q", search, names, err, want)
			}
		}
		page, err := users.List(ctx, gormstore.ListOptions{Search: "anna", Limit: 1})
		if err != nil || len(page) != 1 {
			t.Fatalf("a page of one: %v, error %v", page, err)
		}
		page, err = users.List(ctx, gormstore.ListOptions{Search: "anna", Limit: 1, After: page[0].Name})
		if err != nil || len(page) != 1 || page[0].Name != "Anna Maria" {
			t.Errorf("the next page: %v, error %v", page, err)
		}
		for _, invalid := range []gormstore.ListOptions{{Limit: -1}, {Limit: 1001}, {After: "\xff"}, {After: "a\x00"}, {Search: "a\x00"}} {
			if _, err := users.List(ctx, invalid); !errors.Is(err, gormstore.ErrInvalid) {
				t.Errorf("%+v: error %v, want ErrInvalid", invalid, err)
			}
			if _, err := s.Clients().List(ctx, invalid); !errors.Is(err, gormstore.ErrInvalid) {
				t.Errorf("clients, %+v: error %v, want ErrInvalid", invalid, err)
			}
		}
	})
}

// An imported user keeps the ID and the time of creation. Tokens of an earlier user with
// that ID end.
func TestImportKeepsTheID(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx, users, auth := t.Context(), s.Users(), service(t, s, s.Users())
		created := time.Date(2020, 1, 2, 3, 4, 5, 6, time.UTC)
		issueEarlier := func() tokenauth.IssuedToken {
			t.Helper()
			issued, err := auth.Issue(ctx, tokenauth.Principal{UserID: "17"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return issued
		}
		earlier := issueEarlier()
		errRollBack := errors.New("roll back")
		err := db.Transaction(func(tx *gorm.DB) error {
			if _, err := users.WithTx(tx).Import(ctx, gormstore.User{ID: "17", Name: "alice"}, cheapHash()); err != nil {
				return err
			}
			return errRollBack
		})
		if !errors.Is(err, errRollBack) || !isValid(t, auth, earlier) {
			t.Errorf("a rolled back import: error %v, the token is valid: %v", err, isValid(t, auth, earlier))
		}
		user, err := users.Import(ctx, gormstore.User{ID: "17", Name: "alice", CreatedAt: created}, cheapHash())
		if err != nil || user.ID != "17" || !user.CreatedAt.Equal(created.Truncate(time.Second)) {
			t.Fatalf("imported %+v, error %v", user, err)
		}
		if isValid(t, auth, earlier) {
			t.Error("a token of the earlier user is valid")
		}
		if issued, err := signIn(ctx, auth, "alice", "password"); err != nil || issued.Token.Principal.UserID != "17" {
			t.Errorf("signed in as %+v, error %v", issued.Token.Principal, err)
		}
		for _, test := range []struct {
			id, name, taken string
		}{
			{"17", "alice", "ID"}, {"17", "bob", "ID"}, {"18", "ALICE", "name"}, {"", "alice", "name"},
		} {
			err := db.Transaction(func(tx *gorm.DB) error {
				_, err := users.WithTx(tx).Import(ctx, gormstore.User{ID: test.id, Name: test.name}, cheapHash())
				if !errors.Is(err, gormstore.ErrExists) || !strings.HasSuffix(err.Error(), "with that "+test.taken) {
					t.Errorf("ID %q, name %q: error %v, want ErrExists for the %s", test.id, test.name, err, test.taken)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
		longest := strings.Repeat("ä", 18)
		for i, id := range []string{"x", "A b'c", "0c5ad0ee-0000-4000-8000-000000000000", longest} {
			if user, err := users.Import(ctx, gormstore.User{ID: id, Name: fmt.Sprint("user", i)}, cheapHash()); err != nil || user.ID != id {
				t.Errorf("ID %q: imported %+v, error %v", id, user, err)
			}
		}
		for _, id := range []string{longest + "x", "\xff", "a\n", "\x00", "\u0085"} {
			if _, err := users.Import(ctx, gormstore.User{ID: id, Name: "bad"}, cheapHash()); !errors.Is(err, gormstore.ErrInvalid) {
				t.Errorf("ID %q: error %v, want ErrInvalid", id, err)
			}
		}
		// Tokens of a deleted user, and of a sign-in that the deletion overtook.
		p, err := users.Principal(ctx, "17")
		if err != nil {
			t.Fatal(err)
		}
		if err := users.Delete(ctx, "17"); err != nil {
			t.Fatal(err)
		}
		earlier = issueEarlier()
		if _, err := users.Import(ctx, gormstore.User{ID: "17", Name: "another"}, cheapHash()); err != nil {
			t.Fatal(err)
		}
		if _, err := auth.Issue(ctx, p, &tokenauth.IssueOptions{Recheck: true}); !errors.Is(err, tokenauth.ErrRejected) || isValid(t, auth, earlier) {
			t.Errorf("the deleted user: error %v, want ErrRejected; a token is valid: %v", err, isValid(t, auth, earlier))
		}
	})
}

// Of concurrent imports with one ID or one name, one succeeds.
func TestConcurrentImports(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		for round := range long(20) {
			var imported atomic.Int64
			var wg sync.WaitGroup
			for i := range 4 {
				user := gormstore.User{ID: fmt.Sprint("id", round), Name: fmt.Sprint("user", round, "-", i)}
				if round%2 == 0 {
					user = gormstore.User{ID: fmt.Sprint("id", round, "-", i), Name: fmt.Sprint("user", round)}
				}
				wg.Go(func() {
					_, err := s.Users().Import(t.Context(), user, cheapHash())
					if err == nil {
						imported.Add(1)
					} else if !errors.Is(err, gormstore.ErrExists) {
						t.Errorf("error %v, want ErrExists", err)
					}
				})
			}
			wg.Wait()
			if n := imported.Load(); n != 1 {
				t.Errorf("round %d: %d imports succeeded", round, n)
			}
		}
	})
}

// Names may have spaces if the host allows them. All spellings are one user. When the
// host turns the option off again, the users can still sign in.
func TestSpacesInNames(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		db, ctx := e.open(t, nil), t.Context()
		options := &gormstore.Options{SpacesInNames: true, Passwords: &password.Options{KeepHashes: true}}
		s := newStore(t, db, options)
		users := s.Users()
		user := create(t, s, "Anna  Maria")
		other := create(t, s, "annamaria")
		if err := users.Rename(ctx, other.ID, "Jean\u3000Luc"); err != nil {
			t.Error(err)
		}
		err := db.Transaction(func(tx *gorm.DB) error {
			_, err := users.WithTx(tx).Import(ctx, gormstore.User{Name: "In Tx"}, cheapHash())
			return err
		})
		if err != nil {
			t.Error(err)
		}
		spellings := []string{"anna maria", " ANNA   Maria ", "anna\u00a0maria", "Anna \u3000\uff2daria"}
		for _, name := range spellings {
			if got := users.NormalizeUserName(name); got != "anna maria" {
				t.Errorf("%q is normalized to %q", name, got)
			}
			if strings.TrimSpace(name) != name {
				continue
			}
			if _, err := users.Create(ctx, gormstore.User{Name: name}, tokenauth.NewSecret("password")); !errors.Is(err, gormstore.ErrExists) {
				t.Errorf("creating %q again: error %v, want ErrExists", name, err)
			}
			if err := users.Rename(ctx, other.ID, name); !errors.Is(err, gormstore.ErrExists) {
				t.Errorf("renaming another user to %q: error %v, want ErrExists", name, err)
			}
		}
		for _, name := range []string{" anna", "anna ", "anna\tmaria", "anna\nmaria", "anna\u2028maria", " ", "a \u200b b"} {
			if _, err := users.Create(ctx, gormstore.User{Name: name}, tokenauth.NewSecret("password")); !errors.Is(err, gormstore.ErrInvalid) {
				t.Errorf("creating %q: error %v, want ErrInvalid", name, err)
			}
		}
		options.SpacesInNames = false
		for _, s := range []*gormstore.Store{s, newStore(t, db, options)} {
			for _, name := range spellings {
				issued, err := signIn(ctx, service(t, s, s.Users()), name, "password")
				if err != nil || issued.Token.Principal.UserID != user.ID || issued.Token.Principal.UserName != "Anna  Maria" {
					t.Errorf("signing in as %q: %+v, error %v", name, issued.Token.Principal, err)
				}
			}
			if found, err := s.Users().FindByName(ctx, "jean luc"); err != nil || found.ID != other.ID {
				t.Errorf("found %+v, error %v", found, err)
			}
		}
		users = newStore(t, db, options).Users()
		for what, err := range map[string]error{
			"Create": func() error {
				_, err := users.Create(ctx, gormstore.User{Name: "new name"}, tokenauth.NewSecret("x"))
				return err
			}(),
			"Import": func() error { _, err := users.Import(ctx, gormstore.User{Name: "new name"}, cheapHash()); return err }(),
			"Rename": users.Rename(ctx, other.ID, "new name"),
		} {
			if !errors.Is(err, gormstore.ErrInvalid) || !strings.Contains(err.Error(), "Options.SpacesInNames") {
				t.Errorf("%s of a name with a space: error %v, want ErrInvalid with the option", what, err)
			}
		}
	})
}

// A token that the host issues with the user's principal passes LiveCheck, until the user
// changes.
func TestPrincipal(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx, users, auth := t.Context(), s.Users(), liveService(t, s, s, tokenauth.Options{})
		user := create(t, s, "alice", "Reader")
		if err := users.SetAttributes(ctx, user.ID, map[string]string{"tenant": "a"}); err != nil {
			t.Fatal(err)
		}
		issued := issueFor(t, auth, s, user.ID, "")
		p := issued.Token.Principal
		if !isValid(t, auth, issued) || p.UserID != user.ID || p.UserName != "alice" || !p.HasRole("Reader") || p.Attributes["tenant"] != "a" {
			t.Errorf("the principal is %+v, the token is valid: %v", p, isValid(t, auth, issued))
		}
		signedIn, err := users.Authenticate(ctx, tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("password")})
		if err != nil || signedIn.Stamp != p.Stamp {
			t.Errorf("a sign-in has another stamp, error %v", err)
		}
		if err := users.SetRoles(ctx, user.ID, "Auditor"); err != nil {
			t.Fatal(err)
		}
		if _, err := auth.Issue(ctx, p, &tokenauth.IssueOptions{Recheck: true}); !errors.Is(err, tokenauth.ErrRejected) || isValid(t, auth, issued) {
			t.Errorf("after a change: error %v, want ErrRejected; the token is valid: %v", err, isValid(t, auth, issued))
		}
		err = db.Transaction(func(tx *gorm.DB) error {
			if err := users.WithTx(tx).SetDisabled(ctx, user.ID, true); err != nil {
				return err
			}
			if _, err := users.WithTx(tx).Principal(ctx, user.ID); !errors.Is(err, tokenauth.ErrRejected) {
				t.Errorf("a disabled user in the transaction: error %v, want ErrRejected", err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := users.Principal(ctx, user.ID); !errors.Is(err, tokenauth.ErrRejected) || errors.Is(err, tokenauth.ErrNotFound) {
			t.Errorf("a disabled user: error %v, want ErrRejected", err)
		}
		if _, err := users.Principal(ctx, "no-id"); !errors.Is(err, tokenauth.ErrNotFound) {
			t.Errorf("an unknown user: error %v, want ErrNotFound", err)
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := users.Principal(ended, user.ID); err == nil || errors.Is(err, tokenauth.ErrNotFound) || errors.Is(err, tokenauth.ErrRejected) {
			t.Errorf("a read that failed: error %v", err)
		}
	})
}
