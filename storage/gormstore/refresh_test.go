package gormstore_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// refreshToken returns a token on a device that has a refresh token. Its state has bytes
// that are not valid UTF-8.
func refreshToken(user string, n byte) tokenauth.Token {
	t := deviceToken(user, n)
	t.Lifetime = 0
	t.Refresh = &tokenauth.Refresh{ExpiresAt: t.ExpiresAt.AddDate(0, 1, 0), State: append([]byte{n, 0, 0xff, '\'', '\\', 0x80}, bytes.Repeat([]byte{n}, 300)...)}
	return t
}

// nextToken returns the token that a refresh of t stores.
func nextToken(t tokenauth.Token, n byte) tokenauth.Token {
	u := refreshToken(t.Principal.UserID, n)
	u.Slot, u.Device, u.Replaced = t.Slot, t.Device, t.Digest
	u.IssuedAt, u.ExpiresAt = t.IssuedAt.Add(time.Hour), t.ExpiresAt.Add(time.Hour)
	u.Principal.UserName, u.Principal.Roles, u.Principal.Stamp = "Jörg ÿ'\\😀", []string{"Reader", "Auditor"}, "next ÿ'\\😀"
	return u
}

// useRefresh stores a token with a refresh token, finds and refreshes it.
func useRefresh(ctx context.Context, s *gormstore.Store) error {
	was := refreshToken("of refreshes", 1)
	was.Principal.Stamp = "ÿ'\\😀"
	next := nextToken(was, 2)
	repeated := next
	repeated.Refresh = &tokenauth.Refresh{ExpiresAt: next.Refresh.ExpiresAt, State: bytes.ToUpper(append(slices.Clone(next.Refresh.State), 0))}
	if err := errors.Join(s.Replace(ctx, was), s.Replace(ctx, was)); err != nil {
		return err
	}
	for i, step := range []struct {
		was, t, holds tokenauth.Token
		stored        bool
	}{
		{next, was, was, false}, {was, next, next, true}, {was, next, next, false},
		{next, repeated, repeated, true}, {next, repeated, repeated, false}, {repeated, was, was, true}, {was, next, next, true},
	} {
		stored, err := s.Refresh(ctx, step.was, step.t)
		if err != nil || stored != step.stored {
			return fmt.Errorf("refresh %d returns %v, error %v, want %v", i, stored, err, step.stored)
		}
		for _, slots := range [][]tokenauth.Slot{{was.Slot}, append(batchSlots(20), was.Slot)} {
			found, err := s.FindRefresh(ctx, slots)
			if err != nil {
				return err
			}
			if last := found[len(found)-1]; last.Err != nil || !reflect.DeepEqual(last.Token, step.holds) {
				return fmt.Errorf("after refresh %d, FindRefresh returns %+v, error %v, want %+v", i, last.Token, last.Err, step.holds)
			}
		}
	}
	listed, err := s.List(ctx, was.Slot.User)
	if err != nil || len(listed) != 1 || !reflect.DeepEqual(listed[0], next) {
		return fmt.Errorf("List returns %+v, error %v, want %+v", listed, err, next)
	}
	next.Refresh = nil
	if got, err := s.Find(ctx, was.Slot); err != nil || !reflect.DeepEqual(got, next) {
		return fmt.Errorf("Find returns %+v, error %v, want %+v", got, err, next)
	}
	return s.Revoke(ctx, next.Slot, next.Digest)
}

// refreshService returns a Service with refresh tokens.
func refreshService(tb testing.TB, s tokenauth.Storage, a tokenauth.Authenticator) *tokenauth.Service {
	tb.Helper()
	auth, err := tokenauth.New(s, a, &tokenauth.Options{
		Logger: quiet, Timeout: busyTimeout, Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
		Refresh: &tokenauth.RefreshOptions{Key: tokenauth.NewSecret(refreshKey)},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return auth
}

const refreshKey = "0123456789abcdef0123456789abcdef"

func refreshWith(ctx context.Context, auth *tokenauth.Service, issued tokenauth.IssuedToken) (tokenauth.IssuedToken, error) {
	return auth.Refresh(ctx, tokenauth.Credentials{RefreshToken: issued.RefreshToken})
}

// In a transaction, Refresh and FindRefresh see its changes, and take effect when it
// commits.
func TestRefreshWithTx(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx := t.Context()
		was := refreshToken("alice", 1)
		next := nextToken(was, 2)
		if err := s.Replace(ctx, was); err != nil {
			t.Fatal(err)
		}
		for _, commits := range []bool{false, true} {
			tx := db.Begin()
			in := s.WithTx(tx)
			if stored, err := in.Refresh(ctx, was, next); err != nil || !stored {
				t.Errorf("Refresh returns %v, error %v", stored, err)
			}
			for _, slots := range [][]tokenauth.Slot{{was.Slot}, append(batchSlots(20), was.Slot)} {
				if found, err := in.FindRefresh(ctx, slots); err != nil || found[len(found)-1].Token.Digest != next.Digest {
					t.Errorf("in the transaction, FindRefresh returns %+v, error %v, want digest %v", found, err, next.Digest)
				}
			}
			end, want := tx.Rollback, was
			if commits {
				end, want = tx.Commit, next
			}
			if err := end().Error; err != nil {
				t.Fatal(err)
			}
			if found, err := s.FindRefresh(ctx, []tokenauth.Slot{was.Slot}); err != nil || !reflect.DeepEqual(found[0].Token, want) {
				t.Errorf("after the transaction, FindRefresh returns %+v, error %v, want %+v", found, err, want)
			}
		}
	})
}

// A refresh token whose state is too long for the column is refused, and is never cut
// off.
func TestLongStateIsNotCutOff(t *testing.T) {
	t.Parallel()
	s, _ := engines[2].store(t)
	was := refreshToken("alice", 1)
	if err := s.Replace(t.Context(), was); err != nil {
		t.Fatal(err)
	}
	long := nextToken(was, 2)
	long.Refresh.State = make([]byte, 513)
	if err := s.Replace(t.Context(), long); !errors.Is(err, gormstore.ErrInvalid) {
		t.Errorf("Replace: error %v, want ErrInvalid", err)
	}
	if stored, err := s.Refresh(t.Context(), was, long); stored || !errors.Is(err, gormstore.ErrInvalid) {
		t.Errorf("Refresh: %v, error %v, want ErrInvalid", stored, err)
	}
	long.Refresh.State = long.Refresh.State[:512]
	if stored, err := s.Refresh(t.Context(), was, long); !stored || err != nil {
		t.Errorf("Refresh with 512 bytes: %v, error %v", stored, err)
	}
}

// The statements of the version before refresh tokens: of a sign-in with devices, and of
// a validation.
var (
	devicesReplace = map[string]string{
		"sqlite": devicesInsert + oldOnConflict + devicesOnConflict, "postgres": devicesInsert + oldOnConflict + devicesOnConflict,
		"mariadb": strings.ReplaceAll(strings.ReplaceAll(devicesInsert, " AS t\n", "\n"), "VALUES (?, ?, ?,", "VALUES (?, ?, "+oldGuarded+",") +
			oldOnDuplicate + `,
			device = VALUES(device), device_name = IF(VALUES(device_name) = '', device_name, VALUES(device_name)),
			issued_ms = VALUES(issued_ms), lifetime = VALUES(lifetime)`,
	}
	devicesFind = map[string]string{
		"sqlite": devicesSelect + "WHERE user_key = ? AND client_key = ?",
		"postgres": devicesSelect + "WHERE user_key = ? AND client_key = ? AND CASE WHEN (SELECT pg_catalog.pg_is_in_recovery()) THEN '" +
			"this connection leads to a standby, which lags behind the primary: connect the service to the primary only (set target_session_attrs=read-write in the DSN, and use no proxy that sends reads to standbys)" +
			"' ELSE 'true' END::pg_catalog.bool",
		"mariadb": devicesSelect + "WHERE " + oldGuard + " AND user_key = ? AND client_key = ?",
	}
)

const (
	devicesColumns = `user_key, client_key, format, digest, replaced, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp, device, device_name, issued_ms, lifetime`
	devicesSelect  = `SELECT ` + devicesColumns + ` FROM tokenauth_tokens `
	devicesInsert  = `INSERT INTO tokenauth_tokens AS t
			(user_key, client_key, format, digest, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp, device, device_name, issued_ms, lifetime)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	devicesOnConflict = `,
	device = excluded.device, device_name = CASE WHEN excluded.device_name = '' THEN t.device_name ELSE excluded.device_name END,
	issued_ms = excluded.issued_ms, lifetime = excluded.lifetime`
	oldGuard       = `~0 + (@@autocommit = 0 OR @@completion_type <> _latin1'NO_CHAIN' OR @@character_set_client <> @@character_set_connection)`
	oldGuarded     = `IF(` + oldGuard + `, ?, NULL)`
	oldOnDuplicate = ` ON DUPLICATE KEY UPDATE
			replaced = IF(digest = VALUES(digest), replaced, digest), digest = VALUES(digest), format = VALUES(format),
			issued_at = VALUES(issued_at), expires_at = VALUES(expires_at),
			client_id = VALUES(client_id), user_id = VALUES(user_id), user_name = VALUES(user_name),
			roles = VALUES(roles), attributes = VALUES(attributes), stamp = VALUES(stamp)`
	oldClear = `, device = '', issued_ms = 0, lifetime = 0`
)

// A recorder is a pool that records the statements that it runs or prepares.
type recorder struct {
	*sql.DB
	mu   sync.Mutex
	sent []string
}

func (r *recorder) GetDBConn() (*sql.DB, error) { return r.DB, nil }

func (r *recorder) record(statement string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, plainText(statement))
}

func (r *recorder) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	r.record(query)
	return r.DB.ExecContext(ctx, query, args...)
}

func (r *recorder) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	r.record(query)
	return r.DB.QueryContext(ctx, query, args...)
}

func (r *recorder) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	r.record(query)
	return r.DB.QueryRowContext(ctx, query, args...)
}

func (r *recorder) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	r.record(query)
	return r.DB.PrepareContext(ctx, query)
}

func (r *recorder) BeginTx(ctx context.Context, o *sql.TxOptions) (gorm.ConnPool, error) {
	r.record("BEGIN")
	return r.DB.BeginTx(ctx, o)
}

// during returns the statements that do sends.
func (r *recorder) during(do func()) []string {
	r.mu.Lock()
	r.sent = nil
	r.mu.Unlock()
	do()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.sent)
}

var placeholder = regexp.MustCompile(`\$\d+`)

// plainText returns a statement with ? as placeholders and with single spaces.
func plainText(statement string) string {
	return strings.Join(strings.Fields(placeholder.ReplaceAllString(statement, "?")), " ")
}

// recorded opens a store whose statements are recorded. The store prepares no statement
// before, so each is recorded at least at its first use.
func recorded(t *testing.T, e engine) (*gormstore.Store, *recorder) {
	t.Helper()
	pool, err := e.open(t, nil).DB()
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{DB: pool}
	d := map[string]gorm.Dialector{
		"sqlite": gormlite.OpenDB(r), "postgres": postgres.New(postgres.Config{Conn: r}), "mariadb": mysql.New(mysql.Config{Conn: r}),
	}[e.name]
	db, err := gorm.Open(d, &gorm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return newStore(t, db, nil), r
}

// With the option off, a sign-in and a validation send the statements of the version
// before refresh tokens, and no others. With it on, so does a validation.
func TestWithoutRefreshTheStatementsAreTheSame(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		find := plainText(devicesFind[e.name])
		about := func(sent []string) map[string]bool { // the statements about tokens
			all := make(map[string]bool)
			for _, statement := range sent {
				if strings.Contains(statement, "tokenauth_tokens") {
					all[statement] = true
				}
			}
			return all
		}
		expect := func(what string, sent []string, want ...string) {
			t.Helper()
			got := slices.Sorted(maps.Keys(about(sent)))
			if !slices.Equal(got, slices.Sorted(slices.Values(want))) {
				t.Errorf("%s sends\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		for _, test := range []struct {
			name    string
			options tokenauth.Options
			replace string
		}{
			{"without options", tokenauth.Options{}, oldReplace[e.name] + oldClear},
			{"with devices", tokenauth.Options{Devices: &tokenauth.DeviceOptions{}}, devicesReplace[e.name]},
		} {
			s, r := recorded(t, e)
			create(t, s, "alice")
			o := test.options
			o.Logger, o.Timeout, o.Throttle.InsecureOff = quiet, busyTimeout, true
			auth, err := tokenauth.New(s, s.Users(), &o)
			if err != nil {
				t.Fatal(err)
			}
			var issued tokenauth.IssuedToken
			sent := r.during(func() { issued, err = signIn(t.Context(), auth, "alice", "password") })
			if err != nil {
				t.Fatal(err)
			}
			want := []string{plainText(test.replace)}
			if o.Devices != nil { // which lists the user's devices
				for statement := range about(sent) {
					if strings.Contains(statement, "LEFT JOIN tokenauth_uses") {
						want = append(want, statement)
					}
				}
			}
			expect(test.name+", a sign-in", sent, want...)
			sent = r.during(func() { _, err = auth.Validate(t.Context(), issued.AccessToken.Reveal()) })
			if err != nil {
				t.Fatal(err)
			}
			expect(test.name+", a validation", sent, find)
			text, _ := s.BatchStatement(batchSlots(2))
			if strings.Contains(text, "refresh") || !strings.Contains(plainText(text), devicesColumns) {
				t.Errorf("FindBatch sends %s", text)
			}
		}
		s, r := recorded(t, e)
		create(t, s, "alice")
		auth := refreshService(t, s, s.Users())
		issued, err := signIn(t.Context(), auth, "alice", "password")
		if err != nil {
			t.Fatal(err)
		}
		sent := r.during(func() { _, err = auth.Validate(t.Context(), issued.AccessToken.Reveal()) })
		if err != nil {
			t.Fatal(err)
		}
		expect("with refresh tokens, a validation", sent, find)
	})
}

// A refresh sends four statements, and so does its repetition, as the README says. None
// of them is a transaction.
func TestStatementsOfARefresh(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, r := recorded(t, e)
		create(t, s, "alice")
		auth := refreshService(t, s, s.Users())
		issued, err := signIn(t.Context(), auth, "alice", "password")
		if err != nil {
			t.Fatal(err)
		}
		kinds := func(sent []string) (kinds []string) {
			for _, statement := range sent {
				kind := statement
				switch {
				case strings.Contains(statement, "UPDATE tokenauth_tokens"):
					kind = "write the token"
				case strings.Contains(statement, "FROM tokenauth_users"):
					kind = "read the user"
				case strings.Contains(statement, "tokenauth_tokens"):
					kind = "read the token"
				}
				kinds = append(kinds, kind)
			}
			return kinds
		}
		expect := func(what string, sent []string, want ...string) {
			t.Helper()
			got := kinds(sent)
			// Where the store prepares statements, only their first use is recorded.
			if e.name == "postgres" && !slices.Equal(got, want) || slices.ContainsFunc(got, func(kind string) bool { return !slices.Contains(want, kind) }) {
				t.Errorf("%s sends %q, want %q", what, got, want)
			}
		}
		var sent []string
		sent = r.during(func() { _, err = refreshWith(t.Context(), auth, issued) })
		if err != nil {
			t.Fatal(err)
		}
		expect("a refresh", sent, "read the token", "read the user", "write the token", "read the user")
		sent = r.during(func() { _, err = refreshWith(t.Context(), auth, issued) })
		if err != nil {
			t.Fatal(err)
		}
		expect("its repetition", sent, "read the token", "read the user", "write the token", "read the user")
	})
}

// replaceWithDevices stores a token as the version before refresh tokens did, which has
// devices.
func replaceWithDevices(t *testing.T, e engine, db *gorm.DB, token tokenauth.Token) {
	t.Helper()
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	statement, p := devicesReplace[e.name], token.Principal
	for n := 1; e.name == "postgres" && strings.Contains(statement, "?"); n++ {
		statement = strings.Replace(statement, "?", fmt.Sprint("$", n), 1)
	}
	_, err = pool.ExecContext(t.Context(), statement, token.Slot.User[:], token.Slot.Client[:], 1, token.Digest[:], token.IssuedAt.Unix(), token.ExpiresAt.Unix(),
		token.ClientID, p.UserID, p.UserName, strings.Join(p.Roles, ","), "{}", p.Stamp, token.Device, token.DeviceName, token.IssuedAt.Nanosecond()/1e6, int(token.Lifetime/time.Second))
	if err != nil {
		t.Fatal(err)
	}
}

// Replicas of the versions before refresh tokens, and before devices, work on the new
// tables. A sign-in there ends the refresh token of the sign-in before, although these
// versions leave its columns as they are. Each reads the tokens of the other.
func TestSignInOfAnEarlierVersionEndsTheRefreshToken(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		for name, replace := range map[string]func(*testing.T, engine, *gorm.DB, tokenauth.Token){"before refresh tokens": replaceWithDevices, "before devices": replaceAsBefore} {
			s, db := e.store(t)
			ctx := t.Context()
			user := create(t, s, "alice")
			auth := refreshService(t, s, s.Users())
			first, err := signIn(ctx, auth, "alice", "password")
			if err != nil {
				t.Fatal(err)
			}
			second, err := refreshWith(ctx, auth, first)
			if err != nil {
				t.Fatal(err)
			}
			if digest, replaced, _, _ := findAsBefore(t, db, second.Token.Slot); string(digest) != string(second.Token.Digest[:]) || string(replaced) != string(first.Token.Digest[:]) {
				t.Errorf("%s: the earlier version reads digest %x, which replaced %x", name, digest, replaced)
			}
			// The earlier version issues a token in the same slot.
			earlier, err := service(t, s, s.Users()).Issue(ctx, tokenauth.Principal{UserID: "somebody", UserName: "alice"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			old := earlier.Token
			old.Slot, old.Principal = second.Token.Slot, second.Token.Principal
			old.Digest[0] ^= 1
			replace(t, e, db, old)
			for _, issued := range []tokenauth.IssuedToken{first, second, second} {
				if _, err := refreshWith(ctx, auth, issued); !errors.Is(err, tokenauth.ErrInvalidToken) {
					t.Errorf("%s: a refresh after a sign-in of the earlier version: error %v, want ErrInvalidToken", name, err)
				}
			}
			got, err := s.Find(ctx, old.Slot)
			if err != nil || got.Digest != old.Digest || got.Replaced != second.Token.Digest {
				t.Errorf("%s: the slot holds %+v, error %v, want the token of the earlier version", name, got, err)
			}
			if tokens, err := auth.Tokens(ctx, user.ID); err != nil || len(tokens) != 1 || tokens[0].Refresh != nil {
				t.Errorf("%s: Tokens returns %+v, error %v, want one without a Refresh", name, tokens, err)
			}
			// The next sign-in of this version works as ever.
			third, err := signIn(ctx, auth, "alice", "password")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := refreshWith(ctx, auth, third); err != nil {
				t.Errorf("%s: after another sign-in: %v", name, err)
			}
		}
	})
}

// Migrating down from version 7 ends the refresh tokens and keeps the access tokens, also
// those of devices. Migrating up again keeps them, too.
func TestMigrateRefreshDownAndUp(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		plain, device, refreshed := plainToken("alice", 1, time.Hour), deviceToken("bob", 2), refreshToken("carol", 3)
		for _, token := range []tokenauth.Token{plain, device, refreshed} {
			if err := s.Replace(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		}
		apply(t, e, db, "0007_refresh.down.sql")
		refreshed.Refresh = nil
		replaceWithDevices(t, e, db, deviceToken("dave", 4))
		all := []tokenauth.Token{plain, device, refreshed, deviceToken("dave", 4)}
		for _, want := range all {
			if digest, _, _, expires := findAsBefore(t, db, want.Slot); string(digest) != string(want.Digest[:]) || expires != want.ExpiresAt.Unix() {
				t.Errorf("after migrating down, the token of %s has digest %x and expires at %d", want.Principal.UserID, digest, expires)
			}
		}
		migrateAtOnce(t, db, nil)
		s, err := gormstore.New(t.Context(), db, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range all {
			found, err := s.FindRefresh(t.Context(), []tokenauth.Slot{want.Slot})
			if err != nil || !reflect.DeepEqual(found[0].Token, want) {
				t.Errorf("after migrating up again: %+v, error %v, want %+v", found, err, want)
			}
		}
		if err := useRefresh(t.Context(), s); err != nil {
			t.Error(err)
		}
	})
}

// decoded returns the bytes of an access token or refresh token: a version, 32 bytes of
// the slot, and secrets.
func decoded(t *testing.T, token string) []byte {
	t.Helper()
	_, text, _ := strings.Cut(token, "_")
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) < 65 {
		t.Fatalf("%d bytes, error %v", len(b), err)
	}
	return b
}

// A copy of the database contains no refresh token, no secret part of one, and not the
// key. It contains neither the access tokens that refreshes issued.
func TestDatabaseHoldsNoRefreshToken(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		create(t, s, "alice")
		auth := refreshService(t, s, s.Users())
		issued, err := signIn(t.Context(), auth, "alice", "password")
		var all []tokenauth.IssuedToken
		for range 4 {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, issued)
			issued, err = refreshWith(t.Context(), auth, issued)
		}
		var rows []map[string]any
		if err := db.Raw("SELECT * FROM tokenauth_tokens").Scan(&rows).Error; err != nil || len(rows) != 1 {
			t.Fatalf("%d rows, error %v", len(rows), err)
		}
		var dump bytes.Buffer
		for column, value := range rows[0] {
			switch v := value.(type) {
			case []byte:
				fmt.Fprintf(&dump, "%s %s\n%x\n", column, v, v)
			case string:
				fmt.Fprintf(&dump, "%s %s\n%x\n", column, v, v)
			default:
				fmt.Fprintln(&dump, column, v)
			}
		}
		for i, issued := range all {
			access, refresh := issued.AccessToken.Reveal(), issued.RefreshToken.Reveal()
			accessBytes, refreshBytes := decoded(t, access), decoded(t, refresh)
			for what, part := range map[string]string{
				"the access token": access, "its secret": fmt.Sprintf("%x", accessBytes[33:65]),
				"the refresh token": refresh, "its family": fmt.Sprintf("%x", refreshBytes[33:51]), "half of its secret": fmt.Sprintf("%x", refreshBytes[51:67]),
				"the key": refreshKey, "the key in hexadecimal": fmt.Sprintf("%x", refreshKey),
			} {
				if strings.Contains(dump.String(), part) {
					t.Errorf("pair %d: the database contains %s", i, what)
				}
			}
		}
	})
}

// A failover may lose a refresh whose answer the client has. The client's refresh token is
// then unknown, and counts as reused: the sign-in ends.
func TestLostRefreshEndsTheSignIn(t *testing.T) {
	t.Parallel()
	s, _ := engines[0].store(t)
	ctx := t.Context()
	create(t, s, "alice")
	auth := refreshService(t, s, s.Users())
	first, err := signIn(ctx, auth, "alice", "password")
	if err != nil {
		t.Fatal(err)
	}
	before, err := s.FindRefresh(ctx, []tokenauth.Slot{first.Token.Slot})
	if err != nil || before[0].Err != nil {
		t.Fatalf("FindRefresh returns %+v, error %v", before, err)
	}
	second, err := refreshWith(ctx, auth, first)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Replace(ctx, before[0].Token); err != nil { // as the new primary has it
		t.Fatal(err)
	}
	if _, err := refreshWith(ctx, auth, second); !errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Errorf("with the lost refresh token: error %v, want ErrInvalidToken", err)
	}
	if got, err := s.Find(ctx, first.Token.Slot); !errors.Is(err, tokenauth.ErrNotFound) {
		t.Errorf("the slot has %+v, error %v, want none", got, err)
	}
	if third, err := signIn(ctx, auth, "alice", "password"); err != nil || third.RefreshToken.Reveal() == "" {
		t.Errorf("the next sign-in: %v", err)
	}
}
