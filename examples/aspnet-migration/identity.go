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

// A layout is what the Identities do differently.
type layout struct {
	lockoutEnd string                       // the column
	byName     string                       // the condition by which a user is found
	normalize  func(userName string) string // one spelling for all that it finds
	example    string                       // SQL that makes the tables and some users
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

// upperInvariant is what Identity's UpperInvariantLookupNormalizer does.
func upperInvariant(userName string) string {
	return strings.Map(func(r rune) rune {
		if r == 'ı' { // is no I to .NET
			return r
		}
		return unicode.ToUpper(r)
	}, norm.NFC.String(userName))
}

// findUser has one row for each role of the user, and one if there is none. It
// is one statement, so that user and roles are of the same moment.
const findUser = `
SELECT u."Id" AS id, u."UserName" AS user_name, u."PasswordHash" AS password_hash, u."SecurityStamp" AS security_stamp,
       CASE WHEN u."LockoutEnabled" = TRUE THEN %s END AS lockout_end, r."Name" AS role
FROM "AspNetUsers" u
LEFT JOIN "AspNetUserRoles" ur ON ur."UserId" = u."Id"
LEFT JOIN "AspNetRoles" r ON r."Id" = ur."RoleId"
WHERE %s
ORDER BY u."Id", r."Name"`

// replaceHash leaves SecurityStamp alone: it is the same password.
const replaceHash = `UPDATE "AspNetUsers" SET "PasswordHash" = ? WHERE "Id" = ? AND "PasswordHash" = ?`

// newUsers returns the users in the tables of Identity. AccessFailedCount stays
// as it is: the throttle limits how fast passwords can be guessed.
func newUsers(ctx context.Context, db *gorm.DB, l layout, keepHashes bool) (*password.Authenticator, error) {
	db = db.Session(&gorm.Session{Logger: logger.Discard}) // GORM's own would print hashes
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
		// A collation may find more than Identity means, such as accents.
		if len(rows) == 0 || l.normalize(rows[0].UserName) != l.normalize(userName) {
			return password.Account{}, tokenauth.ErrNotFound
		}
		return account(rows), nil
	}

	// So that the wrong -identity shows at start.
	if err := db.WithContext(ctx).Raw(find, map[string]any{"typed": "", "normalized": ""}).Scan(new([]userRow)).Error; err != nil {
		return nil, fmt.Errorf("AspNetUsers cannot be read as -identity has it: %w", err)
	}
	roles, err := rolesWithComma(db.WithContext(ctx), quoted)
	if err != nil {
		return nil, err
	}
	if len(roles) > 0 {
		slog.Warn("users with these roles get a 500 until they are renamed: there is a comma in them", "roles", roles)
	}
	return password.New(lookup, &password.Options{
		KeepHashes: keepHashes,
		Upgrade: func(ctx context.Context, userID, oldHash, newHash string) error {
			return db.WithContext(ctx).Exec(quoted(replaceHash), newHash, userID, oldHash).Error
		},
	})
}

// A userRow is a user with one of the roles. What is NULL is empty.
type userRow struct {
	ID, UserName, PasswordHash, SecurityStamp string
	LockoutEnd                                string
	Role                                      string
}

func account(rows []userRow) password.Account {
	u := rows[0]
	a := password.Account{
		UserID:       u.ID,
		UserName:     u.UserName,
		PasswordHash: u.PasswordHash,
		Stamp:        u.SecurityStamp, // Identity changes it with the password
		Disabled:     after(u.LockoutEnd, time.Now()),
	}
	for _, row := range rows {
		if row.ID == u.ID && row.Role != "" {
			a.Roles = append(a.Roles, row.Role)
		}
	}
	return a
}

// after reports whether a time, in any of the shapes that drivers give it, is
// after now. One in none of them is never over: PostgreSQL has "infinity" for
// what .NET calls MaxValue.
func after(text string, now time.Time) bool {
	if text == "" {
		return false
	}
	for _, shape := range []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", time.DateTime} {
		if t, err := time.Parse(shape, text); err == nil {
			return t.After(now)
		}
	}
	return text != "-infinity"
}

// rolesWithComma returns the roles that a token cannot have, because the answer
// to a sign-in joins them by commas.
func rolesWithComma(db *gorm.DB, quoted func(string) string) (names []string, err error) {
	err = db.Raw(quoted(`SELECT "Name" FROM "AspNetRoles" WHERE "Name" LIKE '%,%'`)).Scan(&names).Error
	return names, err
}
