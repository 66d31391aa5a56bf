package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// A layout holds the differences between the tables of ASP.NET Identity 2 and
// of ASP.NET Core Identity.
type layout struct {
	lockoutEnd string                       // column with the end of a lockout
	byName     string                       // SQL condition that finds a user by name
	normalize  func(userName string) string // returns the same text for each spelling of a name
	example    string                       // SQL that creates the tables and a few trial users
}

var layouts = map[string]layout{
	"2": {
		lockoutEnd: `u."LockoutEndDateUtc"`,
		byName:     `UPPER(u."UserName") = UPPER(@typed)`,
		normalize:  strings.ToUpper,
		example:    identity2SQL,
	},
	"core": {
		lockoutEnd: `u."LockoutEnd"`,
		byName:     `u."NormalizedUserName" = @normalized`,
		normalize:  upperInvariant,
		example:    coreSQL,
	},
}

// upperInvariant normalizes a user name as ASP.NET Core Identity's
// UpperInvariantLookupNormalizer does.
func upperInvariant(userName string) string {
	return strings.Map(func(r rune) rune {
		if r == 'ı' { // .NET does not change the dotless i to I
			return r
		}
		return unicode.ToUpper(r)
	}, norm.NFC.String(userName))
}

// findUser selects one row for each role of a user, or one row for a user
// without roles. It is a single statement, so that the user and the roles are read
// at the same time.
const findUser = `
SELECT u."Id" AS id, u."UserName" AS user_name, u."PasswordHash" AS password_hash, u."SecurityStamp" AS security_stamp,
       CASE WHEN u."LockoutEnabled" = TRUE THEN %s END AS lockout_end, r."Name" AS role
FROM "AspNetUsers" u
LEFT JOIN "AspNetUserRoles" ur ON ur."UserId" = u."Id"
LEFT JOIN "AspNetRoles" r ON r."Id" = ur."RoleId"
WHERE %s
ORDER BY u."Id", r."Name"`

// replaceHash replaces a password hash with a new hash of the same password. It does
// nothing if another process changed the hash in the meantime. It does not change
// SecurityStamp, since the password is the same.
const replaceHash = `UPDATE "AspNetUsers" SET "PasswordHash" = ? WHERE "Id" = ? AND "PasswordHash" = ?`

// newUsers returns a [tokenauth.Authenticator] for the users in the Identity
// tables. It does not write AccessFailedCount, because the Token API's throttle
// limits guesses instead.
func newUsers(ctx context.Context, db *gorm.DB, l layout, keepHashes bool) (*password.Authenticator, error) {
	db = db.Session(&gorm.Session{Logger: logger.Discard}) // GORM's logger would print hashes
	quoted := func(sql string) string {
		if db.Name() == "mysql" {
			return strings.ReplaceAll(sql, `"`, "`")
		}
		return sql
	}
	find := quoted(fmt.Sprintf(findUser, l.lockoutEnd, l.byName))
	lookup := func(ctx context.Context, userName string) (password.Account, error) {
		var rows []userRow
		names := map[string]any{"typed": userName, "normalized": l.normalize(userName)}
		if err := db.WithContext(ctx).Raw(find, names).Scan(&rows).Error; err != nil {
			return password.Account{}, err
		}
		// The database's collation may also match another user's name, such as a
		// name that differs only in an accent.
		if len(rows) == 0 || l.normalize(rows[0].UserName) != l.normalize(userName) {
			return password.Account{}, tokenauth.ErrNotFound
		}
		return account(rows), nil
	}

	// This look-up makes the start fail if -identity names the wrong layout.
	if err := db.WithContext(ctx).Raw(find, map[string]any{"typed": "", "normalized": ""}).Scan(new([]userRow)).Error; err != nil {
		return nil, fmt.Errorf("cannot read AspNetUsers in the layout that -identity names: %w", err)
	}
	roles, err := rolesWithComma(db.WithContext(ctx), quoted)
	if err != nil {
		return nil, err
	}
	if len(roles) > 0 {
		slog.Warn("these roles have a comma in their name; their users get a 500 until you rename the roles", "roles", roles)
	}
	return password.New(lookup, &password.Options{
		KeepHashes: keepHashes,
		Upgrade: func(ctx context.Context, userID, oldHash, newHash string) error {
			return db.WithContext(ctx).Exec(quoted(replaceHash), newHash, userID, oldHash).Error
		},
	})
}

// A userRow is a user with one of the user's roles. A NULL column becomes an empty
// string.
type userRow struct {
	ID, UserName, PasswordHash, SecurityStamp string
	LockoutEnd                                string
	Role                                      string
}

// account combines the rows that findUser selected for one user name.
func account(rows []userRow) password.Account {
	u := rows[0]
	a := password.Account{
		UserID:       u.ID,
		UserName:     u.UserName,
		PasswordHash: u.PasswordHash,
		Stamp:        u.SecurityStamp, // Identity replaces it when the password changes
		Disabled:     after(u.LockoutEnd, time.Now()),
	}
	for _, row := range rows {
		if row.ID == u.ID && row.Role != "" {
			a.Roles = append(a.Roles, row.Role)
		}
	}
	return a
}

// after reports whether the time in text is after now. It knows the formats that
// the database drivers return. An empty text and "-infinity" are not after now.
// Any other text counts as after now, because Npgsql stores DateTime.MaxValue as
// "infinity".
func after(text string, now time.Time) bool {
	if text == "" {
		return false
	}
	for _, format := range []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", time.DateTime} {
		if t, err := time.Parse(format, text); err == nil {
			return t.After(now)
		}
	}
	return text != "-infinity"
}

// rolesWithComma returns the roles with a comma in their name. A token cannot
// have such a role, because the response of /Token separates roles with commas.
func rolesWithComma(db *gorm.DB, quoted func(string) string) (names []string, err error) {
	err = db.Raw(quoted(`SELECT "Name" FROM "AspNetRoles" WHERE "Name" LIKE '%,%'`)).Scan(&names).Error
	return names, err
}
