package gormstore_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// hour is the beginning of an hour, for uses.
var hour = time.Date(2026, 3, 29, 12, 0, 0, 0, time.UTC)

// deviceToken returns a token on a device. The slot is any: only package tokenauth makes
// those of devices.
func deviceToken(user string, device byte) tokenauth.Token {
	t := tokenauth.Token{
		Slot: tokenauth.Slot{User: tokenauth.UserKeyOf(user), Client: tokenauth.ClientKey{1, device}}, Digest: tokenauth.Digest{device, 1},
		ClientID: "app", Device: fmt.Sprint("device", device), DeviceName: "Jörg's phone",
		Principal: tokenauth.Principal{UserID: user, UserName: user, Roles: []string{"Reader"}, Stamp: "stamp"},
		IssuedAt:  hour.Add(1234 * time.Millisecond), Lifetime: 2 * time.Hour,
	}
	t.ExpiresAt = t.IssuedAt.Truncate(time.Second).Add(t.Lifetime)
	return t
}

func use(t tokenauth.Token, at time.Time) tokenauth.Use {
	return tokenauth.Use{Slot: t.Slot, Digest: t.Digest, At: at}
}

// useDevices stores a token on a device, records uses of it, and lists it.
func useDevices(ctx context.Context, s *gormstore.Store) error {
	token := deviceToken("of devices", 1)
	for range 2 {
		if err := s.Replace(ctx, token); err != nil {
			return err
		}
	}
	later := use(token, hour.Add(time.Hour))
	later.ExpiresAt = token.ExpiresAt.Add(time.Hour)
	for _, uses := range [][]tokenauth.Use{{use(token, hour)}, {later}, {later}} {
		if err := s.RecordUses(ctx, uses); err != nil {
			return err
		}
	}
	token.DeviceName = "renamed"
	if err := s.Rename(ctx, token.Slot, token.Digest, token.DeviceName); err != nil {
		return err
	}
	listed, err := s.List(ctx, token.Slot.User)
	if err != nil {
		return err
	}
	token.ExpiresAt, token.LastSeen = later.ExpiresAt, later.At
	if len(listed) != 1 || !reflect.DeepEqual(withoutReplaced(listed[0]), token) {
		return fmt.Errorf("List returns %+v, want %+v", listed, token)
	}
	if err := s.Revoke(ctx, token.Slot, token.Digest); err != nil {
		return err
	}
	_, err = s.Purge(ctx, hour)
	return err
}

func withoutReplaced(t tokenauth.Token) tokenauth.Token {
	t.Replaced = tokenauth.Digest{}
	return t
}

// Find, FindBatch and List return all fields of a token on a device. A sign-in without a
// name keeps the device's name, and no other field of the token before.
func TestDeviceTokens(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		if err := useDevices(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		first := deviceToken("alice", 1)
		second := deviceToken("alice", 1)
		second.Digest, second.DeviceName, second.IssuedAt, second.Lifetime = tokenauth.Digest{9}, "", hour, 0
		for _, token := range []tokenauth.Token{first, second} {
			if err := s.Replace(t.Context(), token); err != nil {
				t.Fatal(err)
			}
			token.DeviceName = first.DeviceName
			for _, f := range expectFound(t, s, []tokenauth.Slot{token.Slot, {}}) {
				if f.Err == nil && !reflect.DeepEqual(withoutReplaced(f.Token), token) {
					t.Errorf("FindBatch returns %+v, want %+v", f.Token, token)
				}
			}
			if listed, err := s.List(t.Context(), token.Slot.User); err != nil || len(listed) != 1 || !reflect.DeepEqual(withoutReplaced(listed[0]), token) {
				t.Errorf("List returns %+v, %v, want %+v", listed, err, token)
			}
		}
		if err := s.Replace(t.Context(), deviceToken(strings.Repeat("ü", 40), 2)); err != nil {
			t.Error(err)
		}
		long := deviceToken("alice", 3)
		long.DeviceName = strings.Repeat("x", 129)
		if err := s.Replace(t.Context(), long); e.name == "mariadb" && !errors.Is(err, gormstore.ErrInvalid) || e.name != "mariadb" && err != nil {
			t.Errorf("a name of 129 bytes: %v", err)
		}
	})
}

// oldReplace is the statement of a sign-in in the version before devices.
var oldReplace = map[string]string{
	"sqlite":   oldInsert + oldOnConflict,
	"postgres": oldInsert + oldOnConflict,
	"mariadb": strings.ReplaceAll(strings.ReplaceAll(oldInsert, " AS t\n", "\n"), "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?",
		"?, ?, IF(~0 + (@@autocommit = 0 OR @@completion_type <> _latin1'NO_CHAIN' OR @@character_set_client <> @@character_set_connection), ?, NULL), ?, ?, ?, ?, ?, ?, ?, ?, ?") +
		` ON DUPLICATE KEY UPDATE
			replaced = IF(digest = VALUES(digest), replaced, digest), digest = VALUES(digest), format = VALUES(format),
			issued_at = VALUES(issued_at), expires_at = VALUES(expires_at),
			client_id = VALUES(client_id), user_id = VALUES(user_id), user_name = VALUES(user_name),
			roles = VALUES(roles), attributes = VALUES(attributes), stamp = VALUES(stamp)`,
}

const (
	oldInsert = `INSERT INTO tokenauth_tokens AS t
			(user_key, client_key, format, digest, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	oldOnConflict = ` ON CONFLICT (user_key, client_key) DO UPDATE SET
	replaced = CASE WHEN t.digest = excluded.digest THEN t.replaced WHEN length(t.digest) = 32 THEN t.digest END,
	digest = excluded.digest, format = excluded.format,
	issued_at = excluded.issued_at, expires_at = excluded.expires_at,
	client_id = excluded.client_id, user_id = excluded.user_id, user_name = excluded.user_name,
	roles = excluded.roles, attributes = excluded.attributes, stamp = excluded.stamp`
	oldSelect = `SELECT user_key, client_key, format, digest, replaced, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp FROM tokenauth_tokens WHERE user_key = ? AND client_key = ?`
)

// replaceAsBefore stores a token as the version before devices did.
func replaceAsBefore(t *testing.T, e engine, db *gorm.DB, token tokenauth.Token) {
	t.Helper()
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	statement, p := oldReplace[e.name], token.Principal
	for n := 1; e.name == "postgres" && strings.Contains(statement, "?"); n++ {
		statement = strings.Replace(statement, "?", fmt.Sprint("$", n), 1)
	}
	_, err = pool.ExecContext(t.Context(), statement, token.Slot.User[:], token.Slot.Client[:], 1, token.Digest[:], token.IssuedAt.Unix(), token.ExpiresAt.Unix(),
		token.ClientID, p.UserID, p.UserName, strings.Join(p.Roles, ","), "{}", p.Stamp)
	if err != nil {
		t.Fatal(err)
	}
}

// findAsBefore reads a token's digest and times as the version before devices did.
func findAsBefore(t *testing.T, db *gorm.DB, slot tokenauth.Slot) (digest, replaced []byte, issued, expires int64) {
	t.Helper()
	var user, client []byte
	var format int
	var clientID, userID, name, roles, attributes, stamp string
	err := db.Raw(oldSelect, slot.User[:], slot.Client[:]).Row().
		Scan(&user, &client, &format, &digest, &replaced, &issued, &expires, &clientID, &userID, &name, &roles, &attributes, &stamp)
	if err != nil || format != 1 {
		t.Fatalf("format %d, error %v", format, err)
	}
	return digest, replaced, issued, expires
}

// plainToken returns a token without any field of version 6 of the schema.
func plainToken(user string, n byte, lifetime time.Duration) tokenauth.Token {
	return tokenauth.Token{
		Slot: tokenauth.SlotOf(user, ""), Digest: tokenauth.Digest{n, 7}, Principal: tokenauth.Principal{UserID: user, Roles: []string{"Reader"}, Stamp: "s"},
		IssuedAt: hour, ExpiresAt: hour.Add(lifetime),
	}
}

// Replicas of the version before devices and of this version use the same tables. Each
// reads the tokens of the other. The earlier version overwrites a slot but leaves the
// columns that it does not know; that does no harm.
func TestWorksBesideTheVersionBeforeDevices(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		expect := func(want tokenauth.Token) {
			t.Helper()
			got, err := s.Find(t.Context(), want.Slot)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("found %+v, error %v, want %+v", got, err, want)
			}
		}
		// While no option is used, both send the same values.
		if got, want := s.ReplaceStatement(), oldReplace[e.name]+`, device = '', issued_ms = 0, lifetime = 0`; normalized(got) != normalized(want) {
			t.Errorf("Replace sends\n%s\nwant\n%s", got, want)
		}
		old, plain := plainToken("alice", 1, time.Hour), plainToken("alice", 2, time.Hour)
		replaceAsBefore(t, e, db, old)
		expect(old)
		if err := s.Replace(t.Context(), plain); err != nil {
			t.Fatal(err)
		}
		plain.Replaced = old.Digest
		expect(plain)
		var untouched int
		if err := db.Raw(`SELECT count(*) FROM tokenauth_tokens WHERE device = '' AND device_name = '' AND issued_ms = 0 AND lifetime = 0`).Scan(&untouched).Error; err != nil || untouched != 1 {
			t.Errorf("a token without a device changed the new columns, error %v", err)
		}

		extended := plainToken("alice", 3, 2*time.Hour)
		extended.IssuedAt, extended.Lifetime, extended.DeviceName = extended.IssuedAt.Add(250*time.Millisecond), 2*time.Hour, "Ann's phone"
		if err := s.Replace(t.Context(), extended); err != nil {
			t.Fatal(err)
		}
		digest, replaced, issued, expires := findAsBefore(t, db, extended.Slot)
		if string(digest) != string(extended.Digest[:]) || string(replaced) != string(plain.Digest[:]) || issued != hour.Unix() || expires != extended.ExpiresAt.Unix() {
			t.Errorf("the version before devices reads %x, %x, %d, %d", digest, replaced, issued, expires)
		}
		old = plainToken("alice", 4, 30*time.Minute)
		replaceAsBefore(t, e, db, old)
		got, err := s.Find(t.Context(), old.Slot)
		if err != nil || got.Digest != old.Digest || !got.ExpiresAt.Equal(old.ExpiresAt) || got.IssuedAt.Sub(old.IssuedAt).Abs() >= time.Second || got.Lifetime > 30*time.Minute {
			t.Errorf("after an overwrite by the version before devices found %+v, error %v", got, err)
		}
		// A service that was restarted without the options clears the other fields, but
		// keeps the name.
		plain = plainToken("alice", 5, 3*time.Hour)
		if err := newStore(t, db, nil).Replace(t.Context(), plain); err != nil {
			t.Fatal(err)
		}
		plain.Replaced, plain.DeviceName = old.Digest, "Ann's phone"
		expect(plain)
	})
}

// normalized returns a statement with ? as placeholders.
func normalized(statement string) string {
	for n := 12; n > 0; n-- {
		statement = strings.Replace(statement, fmt.Sprint("$", n), "?", 1)
	}
	return statement
}

// Migrating down from version 6 and up again keeps the tokens without a device. It ends
// those of devices, because the version before could not revoke them with their client.
func TestMigrateDevicesDownAndUp(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		old, device := plainToken("alice", 1, time.Hour), deviceToken("alice", 2)
		for _, token := range []tokenauth.Token{old, device} {
			if err := s.Replace(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		}
		apply(t, e, db, "0007_refresh.down.sql")
		apply(t, e, db, "0006_devices.down.sql")
		if digest, _, issued, expires := findAsBefore(t, db, old.Slot); string(digest) != string(old.Digest[:]) || issued != old.IssuedAt.Unix() || expires != old.ExpiresAt.Unix() {
			t.Errorf("after migrating down: %x, %d, %d", digest, issued, expires)
		}
		replaceAsBefore(t, e, db, plainToken("bob", 3, time.Hour))
		migrateAtOnce(t, db, nil)
		s, err := gormstore.New(t.Context(), db, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []tokenauth.Token{old, plainToken("bob", 3, time.Hour)} {
			if got, err := s.Find(t.Context(), want.Slot); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("after migrating up again: %+v, error %v, want %+v", got, err, want)
			}
		}
		if _, err := s.Find(t.Context(), device.Slot); !errors.Is(err, tokenauth.ErrNotFound) {
			t.Errorf("the token of a device: error %v, want ErrNotFound", err)
		}
		if err := useDevices(t.Context(), s); err != nil {
			t.Error(err)
		}
	})
}

// While a backup on PostgreSQL keeps Migrate from adding columns, replicas of the version
// before devices continue to use the table.
func TestMigrateDevicesDoesNotBlockRequests(t *testing.T) {
	t.Parallel()
	e := engines[1]
	s, db := e.store(t)
	token := plainToken("alice", 1, time.Hour)
	if err := s.Replace(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	apply(t, e, db, "0007_refresh.down.sql")
	apply(t, e, db, "0006_devices.down.sql")
	backup := db.Begin()
	defer backup.Rollback()
	findAsBefore(t, backup, token.Slot) // locks the table
	migrated := make(chan error, 1)
	go func() { migrated <- gormstore.Migrate(t.Context(), db, nil) }()
	for range 2 {
		eventually(t, "Migrate waits for the backup", func() bool {
			var waiting int
			err := db.Raw(`SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'tokenauth_tokens'::regclass AND mode = 'AccessExclusiveLock'`).Scan(&waiting).Error
			return err == nil && waiting == 1
		})
		// Without a lock timeout, the read would wait until the backup has ended.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		findAsBefore(t, db.WithContext(ctx), token.Slot)
		cancel()
	}
	backup.Rollback()
	if err := <-migrated; err != nil {
		t.Errorf("Migrate: %v", err)
	}
	if _, err := s.Find(t.Context(), token.Slot); err != nil {
		t.Error(err)
	}
}

// Values that no version of this package writes are ErrCorrupt.
func TestCorruptDeviceColumns(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		token := deviceToken("alice", 1)
		for _, spoil := range []string{"issued_ms = 1000", "issued_ms = -1", "lifetime = -1", "lifetime = 9223372037, expires_at = 99999999999"} {
			if err := s.Replace(t.Context(), token); err != nil {
				t.Fatal(err)
			}
			if err := db.Exec("UPDATE tokenauth_tokens SET " + spoil).Error; err != nil {
				t.Fatal(err)
			}
			if got, err := s.Find(t.Context(), token.Slot); !errors.Is(err, tokenauth.ErrCorrupt) {
				t.Errorf("%s: found %+v, error %v, want ErrCorrupt", spoil, got, err)
			}
		}
		// An operator shortened the token.
		if err := s.Replace(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		if err := db.Exec("UPDATE tokenauth_tokens SET expires_at = 0").Error; err != nil {
			t.Fatal(err)
		}
		if got, err := s.Find(t.Context(), token.Slot); err != nil || got.Lifetime != 0 {
			t.Errorf("found %+v, error %v, want no Lifetime", got, err)
		}
	})
}

// The lifetime of a client is stored with the client.
func TestClientLifetime(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		if err := s.Clients().CreatePublic(t.Context(), tokenauth.Client{ID: "kiosk", Lifetime: 10 * time.Minute}); err != nil {
			t.Fatal(err)
		}
		if c, err := s.Clients().FindClient(t.Context(), "kiosk"); err != nil || c.Lifetime != 10*time.Minute {
			t.Errorf("found %+v, error %v", c, err)
		}
		for _, lifetime := range []time.Duration{-time.Hour, time.Second, time.Minute + 1, 366 * 24 * time.Hour} {
			if err := s.Clients().CreatePublic(t.Context(), tokenauth.Client{ID: "other", Lifetime: lifetime}); !errors.Is(err, gormstore.ErrInvalid) {
				t.Errorf("a lifetime of %v: error %v, want ErrInvalid", lifetime, err)
			}
		}
		for _, lifetime := range []string{"-1", "9223372037"} {
			if err := db.Exec("UPDATE tokenauth_clients SET lifetime = " + lifetime).Error; err != nil {
				t.Fatal(err)
			}
			if c, err := s.Clients().FindClient(t.Context(), "kiosk"); err == nil || !strings.Contains(err.Error(), "column lifetime") {
				t.Errorf("with lifetime %s found %+v, error %v", lifetime, c, err)
			}
		}
	})
}
