package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// beatSlot is the primary key of the heartbeat row: the row in the token table that
// each heartbeat of the feed updates (see [heartbeat]). All bytes of the key are
// zero. No token has this slot, because a token's keys are hashes.
var beatSlot tokenauth.Slot

// beatExpiry is the expiry of the heartbeat row, 9999-12-31. Because of this date,
// [Store.Purge] keeps the row, even in older versions of this package, and the trigger
// reports changes to the row.
const beatExpiry = 253402300799

// databaseTime is the SQL expression for the current time. The trigger compares a
// token's expiry with the same expression.
const databaseTime = `extract(epoch FROM pg_catalog.now())::bigint`

// maxAhead is how far the database's clock may be ahead of this process's clock.
//
// The trigger does not report the end of a token that, by the database's clock, expired
// more than a day ago. So such a token must have expired by every process's clock, too.
// maxAhead is half a day, which leaves half a day for processes with slower clocks.
// A heartbeat does not reveal a wrong clock, because the heartbeat row never expires.
const maxAhead = 12 * time.Hour

// checkTime returns an error if seconds, the database's time, is more than maxAhead
// ahead of this process's clock.
func checkTime(seconds int64) error {
	if ahead := time.Until(time.Unix(seconds, 0)); ahead > maxAhead {
		return fmt.Errorf("the database's clock is %v ahead of this process's clock, so the feed does not report the end of some tokens that are valid here: correct the clock that is wrong", ahead.Round(time.Second))
	}
	return nil
}

const (
	// readBeat reads the row's stamp, the trigger version that was written with the
	// stamp, and the database's time.
	readBeat = `SELECT stamp, roles, ` + databaseTime + ` FROM tokenauth_tokens WHERE user_key = ? AND client_key = ?`

	// writeBeat sets a new stamp and the trigger version, but only if both triggers
	// exist and the row still has the expected stamp. If the expected stamp is NULL,
	// any stamp matches. The statement returns the stamp that the row had before.
	writeBeat = `WITH feed AS (` + readTriggers + `), beat AS (
		UPDATE tokenauth_tokens SET stamp = ?, expires_at = ?, roles = feed.version FROM feed
		WHERE user_key = ? AND client_key = ? AND stamp = COALESCE(?, stamp) AND feed.triggers = 2 RETURNING 1)
		SELECT feed.triggers, feed.version, ` + databaseTime + `, (SELECT pg_catalog.count(*) FROM beat),
		(SELECT stamp FROM tokenauth_tokens WHERE user_key = ? AND client_key = ?) FROM feed`

	// insertBeat inserts the heartbeat row. The row has the same format as a token's
	// row, so a client that makes up a token with this slot gets the usual answer: the
	// token is invalid.
	insertBeat = `INSERT INTO tokenauth_tokens
		(user_key, client_key, format, digest, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp)
		VALUES (?, ?, ?, ?, 0, ?, '', '', 'heartbeat of the feed', '', '{}', '') ON CONFLICT DO NOTHING`
)

// A beatRow reads and writes the heartbeat row through the store's connection pool.
type beatRow struct {
	*database
	readIt, writeIt, insertIt *statement
}

func newBeatRow(d *database) beatRow {
	return beatRow{d, d.statement(readBeat), d.statement(writeBeat), d.statement(insertBeat)}
}

// A sighting is the state of the heartbeat row as a statement found or wrote it.
type sighting struct {
	stamp   string // "" if the row is missing or has had no heartbeat yet
	written bool   // whether the statement wrote the stamp
	version string // the trigger version; "" if unknown
	missing bool   // whether the row did not exist
}

// read reads the row by its primary key. It does not check whether the triggers exist;
// the next write does.
func (r beatRow) read(ctx context.Context) (saw sighting, err error) {
	var now int64
	err = r.readIt.queryRow(ctx, func(scan func(...any) error) error {
		return scan(&saw.stamp, &saw.version, &now)
	}, beatSlot.User[:], beatSlot.Client[:])
	if errors.Is(err, sql.ErrNoRows) {
		return sighting{missing: true}, nil
	}
	if err == nil {
		err = checkTime(now)
	}
	return saw, err
}

// write sets a new stamp if the row still has the expected stamp, or if expected is "".
// If the row has another stamp, write changes nothing and returns the row's stamp.
//
// If the row is missing, as at the first start or after TRUNCATE, write inserts it. If
// the statement found the expected stamp but did not set the new one, write tries once
// more, because another process may have changed the row while the statement waited for
// the row's lock.
//
// write returns errNoFeed, wrapped, if a trigger is missing.
func (r beatRow) write(ctx context.Context, expected, stamp string) (sighting, error) {
	for range 2 {
		var condition any
		if expected != "" {
			condition = expected
		}
		saw, err := r.tryWrite(ctx, append(r.triggerArgs(),
			stamp, beatExpiry, beatSlot.User[:], beatSlot.Client[:], condition, beatSlot.User[:], beatSlot.Client[:]))
		switch {
		case err != nil:
			return saw, err
		case saw.written:
			saw.stamp = stamp
			return saw, nil
		case saw.missing:
			if err := r.insert(ctx); err != nil {
				return saw, err
			}
			expected = ""
		case expected != "" && saw.stamp != expected:
			return saw, nil
		}
	}
	return sighting{}, errors.New("the heartbeat's row in the table of tokens could not be changed: a trigger or a rule of yours prevents it, or another process keeps deleting the row")
}

func (r beatRow) insert(ctx context.Context) error {
	var noDigest tokenauth.Digest
	_, err := r.insertIt.exec(ctx, beatSlot.User[:], beatSlot.Client[:], rowFormat, noDigest[:], beatExpiry)
	return err
}

func (r beatRow) tryWrite(ctx context.Context, args []any) (saw sighting, err error) {
	var triggers int
	var now int64
	var version, stamp sql.NullString
	err = r.writeIt.queryRow(ctx, func(scan func(...any) error) error {
		return scan(&triggers, &version, &now, &saw.written, &stamp)
	}, args...)
	if err == nil && triggers != allTriggers {
		err = r.noTrigger()
	}
	if err == nil {
		err = checkTime(now)
	}
	saw.version, saw.stamp, saw.missing = version.String, stamp.String, !stamp.Valid
	return saw, err
}
