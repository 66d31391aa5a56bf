package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// beatSlot is the slot of the beat row. No token has it: its keys are no
// digests.
var beatSlot tokenauth.Slot

// The expiry of the row, 9999-12-31: neither this version's purge nor an older
// one removes it, and for the trigger it is a token that did not expire.
const beatExpiry = 253402300799

// databaseTime is what the trigger compares with the expiry of a token.
const databaseTime = `extract(epoch FROM pg_catalog.now())::bigint`

// maxAhead is how far the database's clock may be ahead of this process's. The
// trigger does not report the end of a token that by the database's clock has expired
// for a day, and it must not be valid here. The beat row never expires, so that its
// changes say nothing of that. The other half of the day is for other processes,
// whose clocks differ from this one's.
const maxAhead = 12 * time.Hour

// checkTime returns an error if the database's clock is too far ahead.
func checkTime(seconds int64) error {
	if ahead := time.Until(time.Unix(seconds, 0)); ahead > maxAhead {
		return fmt.Errorf("the database's clock is %v ahead of this process's, so that tokens have expired by it that are valid here, and their end is not reported: set the clock that is wrong", ahead.Round(time.Second))
	}
	return nil
}

const (
	// readBeat reads the stamp, the version of the triggers at the write, and the
	// time that the trigger goes by.
	readBeat = `SELECT stamp, roles, ` + databaseTime + ` FROM tokenauth_tokens WHERE user_key = ? AND client_key = ?`

	// writeBeat changes the stamp if it is still the one expected, or whatever it
	// is if that is NULL; and only if the triggers are there, whose version it
	// stores beside. It reads what was before.
	writeBeat = `WITH feed AS (` + readTriggers + `), beat AS (
		UPDATE tokenauth_tokens SET stamp = ?, expires_at = ?, roles = feed.version FROM feed
		WHERE user_key = ? AND client_key = ? AND stamp = COALESCE(?, stamp) AND feed.triggers = 2 RETURNING 1)
		SELECT feed.triggers, feed.version, ` + databaseTime + `, (SELECT pg_catalog.count(*) FROM beat),
		(SELECT stamp FROM tokenauth_tokens WHERE user_key = ? AND client_key = ?) FROM feed`

	// insertBeat makes the row. It is an ordinary one, so that somebody who
	// makes up a token of its slot is told no more than that it is invalid.
	insertBeat = `INSERT INTO tokenauth_tokens
		(user_key, client_key, format, digest, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp)
		VALUES (?, ?, ?, ?, 0, ?, '', '', 'heartbeat of the feed', '', '{}', '') ON CONFLICT DO NOTHING`
)

// A beatRow is the row that heartbeats change, as the pool of the store reaches it.
type beatRow struct {
	*database
	readIt, writeIt, insertIt *statement
}

func newBeatRow(d *database) beatRow {
	return beatRow{d, d.statement(readBeat), d.statement(writeBeat), d.statement(insertBeat)}
}

// A sighting is what a statement saw of the row.
type sighting struct {
	stamp   string // "" for a row without a heartbeat, or for none
	written bool   // by this statement
	version string // of the triggers, or "" if it is not known
	missing bool
}

// read looks at the row, by its primary key. The next write finds a trigger that is
// missing since.
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

// write changes the stamp if it is the one expected, or whatever it is if that is
// "". If it was another, it has not written and returns that one. It makes the row
// where it is missing: at the first start, or after TRUNCATE. It tries again if
// nothing changed and nothing else was seen: another process may have changed the row
// while the statement waited for it. It returns errNoFeed, wrapped, if a trigger is
// missing.
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
	return sighting{}, errors.New("the row of the heartbeat does not change: a trigger or a rule of yours keeps it, or another process deletes it again and again")
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
