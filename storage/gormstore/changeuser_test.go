package gormstore_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// staff is an Authenticator over a users table of the host.
type staff struct{ db *gorm.DB }

// newStaff creates the table with one user, alice.
func newStaff(t testing.TB, db *gorm.DB) staff {
	t.Helper()
	for _, statement := range []string{
		`CREATE TABLE staff (id VARCHAR(36) PRIMARY KEY, version INTEGER NOT NULL, gone INTEGER NOT NULL)`,
		`INSERT INTO staff VALUES ('alice', 1, 0)`,
	} {
		if err := db.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
	return staff{db}
}

func (s staff) stamp(ctx context.Context, id string) (stamp string, err error) {
	err = s.db.WithContext(ctx).Raw(`SELECT version FROM staff WHERE id = ? AND gone = 0`, id).Row().Scan(&stamp)
	if errors.Is(err, sql.ErrNoRows) {
		err = tokenauth.ErrRejected
	}
	return stamp, err
}

func (s staff) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	stamp, err := s.stamp(ctx, c.UserName)
	return tokenauth.Principal{UserID: c.UserName, UserName: c.UserName, Stamp: stamp}, err
}

func (s staff) Recheck(ctx context.Context, p tokenauth.Principal) error {
	stamp, err := s.stamp(ctx, p.UserID)
	if err == nil && stamp != p.Stamp {
		err = tokenauth.ErrRejected
	}
	return err
}

// A hookedPool calls before and after, if they are set, around the next commit.
type hookedPool struct {
	*sql.DB
	before, after func()
}

func (p *hookedPool) GetDBConn() (*sql.DB, error) { return p.DB, nil }

func (p *hookedPool) BeginTx(ctx context.Context, o *sql.TxOptions) (gorm.ConnPool, error) {
	tx, err := p.DB.BeginTx(ctx, o)
	return &hookedTx{tx, p}, err
}

type hookedTx struct {
	*sql.Tx
	pool *hookedPool
}

func (tx *hookedTx) Commit() error {
	before, after := tx.pool.before, tx.pool.after
	tx.pool.before, tx.pool.after = nil, nil
	if before != nil {
		before()
	}
	err := tx.Tx.Commit()
	if after != nil {
		after()
	}
	return err
}

// hostPools opens the same database twice, the second time with a hookedPool.
func hostPools(t testing.TB, name string) (db, hooked *gorm.DB, pool *hookedPool) {
	t.Helper()
	var d gorm.Dialector
	if name == "postgres" {
		d = postgres.Open(throwaway.Postgres(t))
	} else {
		d = mysql.Open(throwaway.MariaDB(t))
	}
	db = openDialector(t, d, nil)
	inner, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	pool = &hookedPool{DB: inner}
	if name == "postgres" {
		return db, openDialector(t, postgres.New(postgres.Config{Conn: pool}), nil), pool
	}
	return db, openDialector(t, mysql.New(mysql.Config{Conn: pool}), nil), pool
}

// A sign-in stores its token after ChangeUser deleted the user's tokens, and checks the
// user again before ChangeUser commits. Its token ends even so. Without the deletion
// after the commit, as with WithTx alone, the token would stay valid.
func TestChangeUserEndsConcurrentSignIns(t *testing.T) {
	onServers(t, func(t *testing.T, name string) {
		db, hooked, pool := hostPools(t, name)
		s := newStore(t, hooked, nil)
		auth := service(t, newStore(t, db, nil), newStaff(t, db)) // another process
		dismiss := func(tx *gorm.DB) error { return tx.Exec(`UPDATE staff SET version = version + 1`).Error }
		signIn := func(client string) string {
			t.Helper()
			issued, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", ClientID: client})
			if err != nil {
				t.Fatalf("a sign-in: %v", err)
			}
			return issued.AccessToken.Reveal()
		}
		for _, test := range []struct {
			how    string
			change func() error
			kept   bool
		}{
			{"ChangeUser", func() error { return s.ChangeUser(t.Context(), "alice", dismiss) }, false},
			{"WithTx", func() error {
				return hooked.Transaction(func(tx *gorm.DB) error {
					if err := dismiss(tx); err != nil {
						return err
					}
					return s.WithTx(tx).RevokeUser(t.Context(), tokenauth.UserKeyOf("alice"))
				}, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
			}, true},
		} {
			before, meanwhile := signIn("web"), ""
			pool.before = func() { meanwhile = signIn(test.how) } // in an empty slot, because the deletion has locked the other one
			if err := test.change(); err != nil {
				t.Fatalf("%s: %v", test.how, err)
			}
			if _, err := auth.Validate(t.Context(), before); err == nil {
				t.Errorf("%s: a token from before the change is valid", test.how)
			}
			if _, err := auth.Validate(t.Context(), meanwhile); (err == nil) != test.kept || err != nil && !errors.Is(err, tokenauth.ErrInvalidToken) {
				t.Errorf("%s: the token of a concurrent sign-in: error %v, want it valid: %v", test.how, err, test.kept)
			}
		}
	})
}

// ChangeUser changes the host's table and ends the tokens of this user only. If the
// change fails, nothing changes, and the error of the change is returned.
func TestChangeUser(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		auth, ctx := service(t, s, newStaff(t, db)), t.Context()
		if err := db.Exec(`INSERT INTO staff VALUES ('bob', 1, 0)`).Error; err != nil {
			t.Fatal(err)
		}
		tokens := make(map[string]string)
		for _, user := range []string{"alice", "bob"} {
			issued, err := auth.SignIn(ctx, tokenauth.Credentials{UserName: user})
			if err != nil {
				t.Fatal(err)
			}
			tokens[user] = issued.AccessToken.Reveal()
		}
		expect := func(when string, alice bool) {
			t.Helper()
			for user, valid := range map[string]bool{"alice": alice, "bob": true} {
				if _, err := auth.Validate(ctx, tokens[user]); (err == nil) != valid || err != nil && !errors.Is(err, tokenauth.ErrInvalidToken) {
					t.Errorf("%s: the token of %s: error %v, want it valid: %v", when, user, err, valid)
				}
			}
			var gone int
			if err := db.Raw(`SELECT count(*) FROM staff WHERE gone = 1`).Scan(&gone).Error; err != nil || (gone == 1) == alice {
				t.Errorf("%s: %d users are gone, error %v", when, gone, err)
			}
		}
		dismiss := func(tx *gorm.DB) error { return tx.Exec(`UPDATE staff SET gone = 1 WHERE id = 'alice'`).Error }
		errRefused := errors.New("no such table: of the host") // would be explained if it came from the store
		err := s.ChangeUser(ctx, "alice", func(tx *gorm.DB) error { return errors.Join(dismiss(tx), errRefused) })
		if !errors.Is(err, errRefused) || err.Error() != errRefused.Error() {
			t.Errorf("a change that fails: %v", err)
		}
		expect("after a change that failed", true)

		func() {
			defer func() {
				if recover() == nil {
					t.Error("a panic of the change was lost")
				}
			}()
			s.ChangeUser(ctx, "alice", func(tx *gorm.DB) error { dismiss(tx); panic("the host's") })
		}()
		expect("after a change that panicked", true)

		called := false
		note := func(*gorm.DB) error { called = true; return nil }
		err = db.Transaction(func(tx *gorm.DB) error { return s.WithTx(tx).ChangeUser(ctx, "alice", note) })
		if err == nil || !strings.Contains(err.Error(), "from New, not from WithTx") || called {
			t.Errorf("on a Store from WithTx: %v", err)
		}
		if err := s.ChangeUser(ctx, "", note); !errors.Is(err, gormstore.ErrInvalid) || called {
			t.Errorf("an empty user ID: error %v, want ErrInvalid", err)
		}
		expect("after invalid calls", true)

		canceled, cancel := context.WithCancel(ctx)
		cancel()
		if err := s.ChangeUser(canceled, "alice", dismiss); !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v", err)
		}
		expect("with an ended context", true)

		if err := s.ChangeUser(ctx, "alice", dismiss); err != nil {
			t.Fatal(err)
		}
		expect("after the change", false)
	})
}

// If the deletion after the commit fails, the error says that the user was changed, and
// names RevokeUser. A client that disconnects after the commit does not make it fail.
func TestChangeUserReportsTokensThatMayRemain(t *testing.T) {
	onServers(t, func(t *testing.T, name string) {
		db, hooked, pool := hostPools(t, name)
		newStaff(t, db)
		s := newStore(t, hooked, nil)
		dismiss := func(tx *gorm.DB) error { return tx.Exec(`UPDATE staff SET version = version + 1`).Error }
		ctx, cancel := context.WithCancel(t.Context())
		pool.after = cancel
		if err := s.ChangeUser(ctx, "alice", dismiss); err != nil || ctx.Err() == nil {
			t.Errorf("canceled after the commit: %v", err)
		}
		pool.after = func() {
			if err := db.Exec(`ALTER TABLE tokenauth_tokens RENAME TO hidden`).Error; err != nil {
				t.Error(err)
			}
		}
		err := s.ChangeUser(t.Context(), "alice", dismiss)
		if err == nil || !strings.Contains(err.Error(), "user alice was changed") || !strings.Contains(err.Error(), "call RevokeUser, which ends it") {
			t.Errorf("the deletion after the commit failed, and ChangeUser returns %v", err)
		}
		var version int
		if err := db.Raw(`SELECT version FROM staff`).Scan(&version).Error; err != nil || version != 3 {
			t.Errorf("the version is %d, error %v, want 3", version, err)
		}
	})
}

// If the database rolls the transaction back, ChangeUser calls the change again.
func TestChangeUserRetriesDeadlocks(t *testing.T) {
	lockable(t, func(t *testing.T, db *gorm.DB) {
		newStaff(t, db)
		s := newStore(t, db, nil)
		if err := db.Exec(`INSERT INTO staff VALUES ('bob', 1, 0)`).Error; err != nil {
			t.Fatal(err)
		}
		// Two changes lock the same two rows in opposite orders. Each waits until both
		// have locked their first row.
		locked := make(chan struct{}, 2)
		ready := make(chan struct{})
		go func() { <-locked; <-locked; close(ready) }()
		calls, changed := make(chan string, 20), make(chan error, 2)
		for _, order := range [][]string{{"alice", "bob"}, {"bob", "alice"}} {
			go func() {
				first := true
				changed <- s.ChangeUser(t.Context(), order[0], func(tx *gorm.DB) error {
					calls <- order[0]
					if err := tx.Exec(`UPDATE staff SET version = version + 1 WHERE id = ?`, order[0]).Error; err != nil {
						return err
					}
					if first {
						first = false
						locked <- struct{}{}
						<-ready
					}
					return tx.Exec(`UPDATE staff SET version = version + 1 WHERE id = ?`, order[1]).Error
				})
			}()
		}
		for range 2 {
			if err := <-changed; err != nil {
				t.Error(err)
			}
		}
		var versions []int
		if err := db.Raw(`SELECT version FROM staff`).Scan(&versions).Error; err != nil || len(versions) != 2 || versions[0] != 3 || versions[1] != 3 {
			t.Errorf("the versions are %v, error %v, want 3 and 3", versions, err)
		}
		if n := len(calls); n < 3 {
			t.Errorf("the changes were called %d times, so the test proves nothing", n)
		}
	})
}

// Within a transaction of the host, all methods of the store see its changes, and take
// effect when it commits.
func TestStoreWithTx(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx := t.Context()
		kept, ended := deviceToken("alice", 1), deviceToken("bob", 2)
		if err := s.Replace(ctx, ended); err != nil {
			t.Fatal(err)
		}
		errRollBack := errors.New("roll back")
		transaction := func(result error) {
			t.Helper()
			options := &sql.TxOptions{Isolation: sql.LevelReadCommitted}
			if e.name == "sqlite" {
				options = nil
			}
			tx := db.Begin(options)
			defer tx.Rollback()
			in := s.WithTx(tx)
			if err := errors.Join(in.Replace(ctx, kept), in.RecordUses(ctx, []tokenauth.Use{use(kept, hour)}), in.Revoke(ctx, ended.Slot, ended.Digest), useDevices(ctx, in), useRefresh(ctx, in)); err != nil {
				t.Fatal(err)
			}
			if seen, _ := lastSeen(t, in, "alice"); !seen.Equal(hour) {
				t.Errorf("in the transaction the token was seen %v", seen)
			}
			for _, f := range expectFound(t, in, []tokenauth.Slot{kept.Slot, {}}) {
				if f.Err != nil && !errors.Is(f.Err, tokenauth.ErrNotFound) {
					t.Error(f.Err)
				}
			}
			if _, err := in.Find(ctx, ended.Slot); !errors.Is(err, tokenauth.ErrNotFound) {
				t.Errorf("in the transaction an ended token: error %v, want ErrNotFound", err)
			}
			if n, err := in.RevokeUnused(ctx, time.Unix(0, 0)); n != 0 || err != nil {
				t.Errorf("RevokeUnused ended %d, error %v", n, err)
			}
			if _, err := in.Now(ctx); err != nil {
				t.Error(err)
			}
			if _, err := in.Users().Import(ctx, gormstore.User{Name: "carol"}, cheapHash()); err != nil {
				t.Error(err)
			}
			if err := in.Clients().CreatePublic(ctx, tokenauth.Client{ID: "web"}); err != nil {
				t.Error(err)
			}
			if result == nil {
				if err := tx.Commit().Error; err != nil {
					t.Fatal(err)
				}
			}
		}
		transaction(errRollBack)
		_, errKept := s.Find(ctx, kept.Slot)
		_, errEnded := s.Find(ctx, ended.Slot)
		_, errUser := s.Users().FindByName(ctx, "carol")
		if !errors.Is(errKept, tokenauth.ErrNotFound) || errEnded != nil || !errors.Is(errUser, tokenauth.ErrNotFound) {
			t.Errorf("after a rollback: %v, %v, %v", errKept, errEnded, errUser)
		}
		transaction(nil)
		_, errEnded = s.Find(ctx, ended.Slot)
		_, errUser = s.Users().FindByName(ctx, "carol")
		_, errClient := s.Clients().FindClient(ctx, "web")
		if seen, _ := lastSeen(t, s, "alice"); !seen.Equal(hour) || !errors.Is(errEnded, tokenauth.ErrNotFound) || errUser != nil || errClient != nil {
			t.Errorf("after a commit: seen %v, %v, %v, %v", seen, errEnded, errUser, errClient)
		}
	})
}

// In a transaction with a snapshot, calls that end tokens could miss some. They return an
// error that names the isolation level.
func TestStoreWithTxRefusesSnapshots(t *testing.T) {
	t.Parallel()
	s, db := engines[1].store(t)
	token, ctx := deviceToken("alice", 1), t.Context()
	for name, end := range map[string]func(*gormstore.Store) error{
		"Revoke":       func(s *gormstore.Store) error { return s.Revoke(ctx, token.Slot, token.Digest) },
		"RevokeUser":   func(s *gormstore.Store) error { return s.RevokeUser(ctx, token.Slot.User) },
		"RevokeClient": func(s *gormstore.Store) error { return s.RevokeClient(ctx, "app") },
		"RevokeAll":    func(s *gormstore.Store) error { return s.RevokeAll(ctx) },
		"RevokeUnused": func(s *gormstore.Store) error { _, err := s.RevokeUnused(ctx, hour); return err },
	} {
		for _, level := range []sql.IsolationLevel{sql.LevelRepeatableRead, sql.LevelSerializable, sql.LevelReadCommitted} {
			err := db.Transaction(func(tx *gorm.DB) error { return end(s.WithTx(tx)) }, &sql.TxOptions{Isolation: level})
			if level == sql.LevelReadCommitted && err != nil || level != sql.LevelReadCommitted && !errors.Is(err, gormstore.ErrIsolationLevel) {
				t.Errorf("%s at %s: %v", name, level, err)
			}
		}
	}
}
