package gormstore_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/internal/trial"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// heard listens to the channel of the feeds and returns a function for the next payload.
func heard(t testing.TB, dsn string) (next func() string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	if _, err := conn.Exec(t.Context(), "LISTEN tokenauth_feed"); err != nil {
		t.Fatal(err)
	}
	return func() string {
		t.Helper()
		n, err := conn.WaitForNotification(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n.Payload
	}
}

// Several services with different leases share one heartbeat, at the pace of the
// shortest lease. All feeds stay alive, and no heartbeat invalidates a token.
func TestServicesShareOneHeartbeat(t *testing.T) {
	t.Parallel()
	trial.Run(t, servicesShareOneHeartbeat)
}

func servicesShareOneHeartbeat(t *trial.T) {
	dsn := throwaway.Postgres(t)
	w, db := openWatched(t, dsn, pgxfeed.Listener{})
	const shortest = 2 * time.Second
	var services []*tokenauth.Service
	var logs []*syncBuffer
	for _, lease := range []time.Duration{shortest, shortest, 3 * time.Second, time.Minute} {
		s, log := logged(t, w, lease)
		services, logs = append(services, s), append(logs, log)
	}
	accessToken := issueTo(t, services[0], "alice")
	for _, s := range services {
		warm(t, s, accessToken)
	}
	ended := func() (n uint64) {
		for _, s := range services {
			stats := s.CacheStats()
			n += uint64(stats.Invalidations) + uint64(stats.Flushes)
		}
		return n
	}
	before := ended()
	next := heard(t, dsn)
	// Even on a busy machine, two heartbeats are at least three quarters of a beat
	// apart. The first one may come at any time.
	const beats, beat = 9, shortest / 4
	began := time.Now()
	for range beats {
		if payload := next(); !strings.HasPrefix(payload, "beat row ") {
			t.Errorf("heard %q", payload)
		}
	}
	took := time.Since(began)
	if least := (beats - 2) * beat * 3 / 4; took < least {
		t.Errorf("%d heartbeats within %v, want no less than %v", beats, took, least)
	}
	t.Logf("%d heartbeats of %v within %v", beats, beat, took)
	for i, s := range services {
		if text := logs[i].String(); !s.CacheStats().FeedAlive || text != "" {
			t.Late(fmt.Errorf("service %d: alive is %v, log: %s", i, s.CacheStats().FeedAlive, text))
		}
	}
	if after := ended(); after != before {
		t.Errorf("%d invalidations", after-before)
	}
	var rows int
	if err := db.Raw(`SELECT count(*) FROM tokenauth_tokens WHERE user_id = ''`).Scan(&rows).Error; err != nil || rows != 1 {
		t.Errorf("%d rows of heartbeats, error %v", rows, err)
	}
}

// The previous version ignores payloads that begin with "beat ". It looks for the trigger
// with the query below, and purges with the statement below. Both must still work.
func TestPreviousVersionToleratesTheHeartbeat(t *testing.T) {
	t.Parallel()
	trial.Run(t, previousVersionToleratesTheHeartbeat)
}

func previousVersionToleratesTheHeartbeat(t *trial.T) {
	dsn := throwaway.Postgres(t)
	w, db := openWatched(t, dsn, pgxfeed.Listener{})
	next := heard(t, dsn)
	reader, log := logged(t, w, lease)
	if payload := next(); !strings.HasPrefix(payload, "beat ") {
		t.Errorf("the heartbeat is %q", payload)
	}
	var triggers int
	err := db.Raw(`SELECT count(*) FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
		WHERE t.tgrelid = pg_catalog.to_regclass(?)::oid AND t.tgenabled <> 'D' AND t.tgname IN (?, ?)
		AND 'search_path=pg_catalog, pg_temp' = ANY (p.proconfig)`, "tokenauth_tokens", "tokenauth_tell", "tokenauth_tell_all").Scan(&triggers).Error
	if err != nil || triggers != 2 {
		t.Errorf("the previous version finds %d triggers, error %v", triggers, err)
	}
	purge := db.Exec(`DELETE FROM tokenauth_tokens WHERE user_key > '' AND expires_at < ?`, time.Now().Unix())
	if purge.Error != nil || purge.RowsAffected != 0 {
		t.Errorf("the previous version purges %d rows, error %v", purge.RowsAffected, purge.Error)
	}
	if removed, err := service(t, w, noUsers{}).Purge(t.Context()); err != nil || removed != 0 {
		t.Errorf("this version purges %d rows, error %v", removed, err)
	}
	// Send a heartbeat of the previous version.
	accessToken := issueTo(t, reader, "alice")
	warm(t, reader, accessToken)
	before := reader.CacheStats()
	if err := db.Exec(`SELECT pg_notify('tokenauth_feed', 'beat GEZDGNBVGY3TQOJQGEZDGNBVGY')`).Error; err != nil {
		t.Fatal(err)
	}
	for payload := ""; payload != "beat GEZDGNBVGY3TQOJQGEZDGNBVGY"; {
		if payload = next(); !strings.HasPrefix(payload, "beat ") { // the reader's own heartbeats come in between
			t.Errorf("received payload %q, want a heartbeat", payload)
		}
	}
	for range 2 { // the reader has received the heartbeat after these
		next()
	}
	after := reader.CacheStats()
	if text := log.String(); text != "" {
		t.Late(errors.New(text)) // the feed was lost, and the cache is flushed when it is back
	}
	if after.Invalidations != before.Invalidations || after.Flushes != before.Flushes {
		t.Errorf("the old heartbeat invalidates tokens: %+v", after)
	}
}

// A client that invents a token with the heartbeat's slot gets the usual error, and
// changes nothing.
func TestTokenOfTheHeartbeatIsInvalid(t *testing.T) {
	t.Parallel()
	w, db := openWatched(t, throwaway.Postgres(t), pgxfeed.Listener{})
	auth := replica(t, w, time.Minute)
	good := issueTo(t, auth, "alice")
	const prefix = "tat_"
	body, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(good, prefix))
	if err != nil || len(body) != 69 {
		t.Fatalf("an access token has %d bytes, error %v", len(body), err)
	}
	copy(body[1:33], make([]byte, 32))
	sum := crc32.ChecksumIEEE(slices.Concat([]byte(prefix), body[:65]))
	binary.BigEndian.PutUint32(body[65:], sum)
	forged := prefix + base64.RawURLEncoding.EncodeToString(body)
	for range 2 {
		if _, err := auth.Validate(t.Context(), forged); !errors.Is(err, tokenauth.ErrInvalidToken) || errors.Is(err, tokenauth.ErrReplacedToken) {
			t.Errorf("Validate: %v", err)
		}
		if err := auth.Revoke(t.Context(), forged); err != nil {
			t.Errorf("Revoke: %v", err)
		}
	}
	var rows int
	if err := db.Raw(`SELECT count(*) FROM tokenauth_tokens WHERE user_id = ''`).Scan(&rows).Error; err != nil || rows != 1 {
		t.Errorf("%d rows of heartbeats, error %v", rows, err)
	}
}
