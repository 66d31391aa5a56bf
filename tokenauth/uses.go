package tokenauth

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
)

const (
	// useHour is the length of the period in which a token's use is recorded
	// once.
	useHour = time.Hour
	// useFlushed is how often [Service.Run] records the uses that this process
	// has noted.
	useFlushed = time.Minute
	// useHurry is the remaining lifetime below which a use that makes a token
	// live on is recorded at once.
	useHurry = 5 * time.Minute
	// usesAtOnce is the maximum number of uses in one call of
	// [UseRecorder.RecordUses].
	usesAtOnce = 256
)

// A useLog notes which tokens were used. It costs a request no call of the
// storage: [Service.Run] passes the notes to the [UseRecorder] in batches.
//
// The time is divided into hours. For each token they begin at a different
// minute, which depends on its digest, so the work is spread evenly. All
// replicas compute the same hours. So together they record a token once an hour.
type useLog struct {
	options  *Options
	timeout  *deadline.Timeout
	changed  func() // called when any token may have ended
	recorder UseRecorder
	shards   [64]useShard
	hurry    chan struct{} // a value in this channel makes run record now; its capacity is one
	failing  bool          // a failure was logged, and no success yet; only flush uses it
	flushing sync.Mutex    // held by flush
}

type useShard struct {
	mu     sync.Mutex
	noted  map[uint64]int64 // the hour of the last note for each token, by the first bytes of its digest
	unsent map[Slot]sighting
	_      [40]byte // fills the shard up to 64 bytes, the size of a cache line
}

// A sighting is a note that a token was used.
type sighting struct {
	digest  Digest
	hour    int64
	expires int64 // when the token expires without this use, in Unix seconds
	until   int64 // when it expires with this use, or 0 if that is not later
}

// newUseLog returns a useLog for the storage, or nil if no option needs one for
// sign-ins, or if the storage is not a [UseRecorder].
func newUseLog(s Storage, o *Options, timeout *deadline.Timeout, changed func()) *useLog {
	recorder, ok := s.(UseRecorder)
	if !ok || o.IdleTimeout == 0 && o.MaxLifetime == 0 && o.Devices == nil {
		return nil
	}
	return makeUseLog(recorder, o, timeout, changed)
}

func makeUseLog(r UseRecorder, o *Options, timeout *deadline.Timeout, changed func()) *useLog {
	return &useLog{options: o, timeout: timeout, changed: changed, recorder: r, hurry: make(chan struct{}, 1)}
}

// useHourOf returns the number of the hour, for this token, to which a time in
// Unix seconds belongs.
func useHourOf(d *Digest, now int64) int64 {
	const seconds = int64(useHour / time.Second)
	return (now + phaseOf(d)) / seconds
}

// useHourStart returns when an hour of the token begins, in Unix seconds.
func useHourStart(d *Digest, hour int64) int64 {
	return hour*int64(useHour/time.Second) - phaseOf(d)
}

func phaseOf(d *Digest) int64 {
	return int64(binary.BigEndian.Uint16(d[:2])) % int64(useHour/time.Second)
}

// shard returns the shard of a slot. Each slot has one, so that a flush has at
// most one sighting for it.
func (u *useLog) shard(slot *Slot) *useShard { return &u.shards[int(slot.User[1])%len(u.shards)] }

// note notes that a valid token was used at a time in Unix seconds. The mark of
// a cached token, which may be nil, has the hour of the last note. So in most
// cases note only reads the mark.
func (u *useLog) note(t *Token, mark *atomic.Int64, now int64) {
	hour := useHourOf(&t.Digest, now)
	if mark != nil {
		if mark.Load() == hour {
			return
		}
		defer mark.Store(hour)
	}
	key := binary.BigEndian.Uint64(t.Digest[2:])
	sh := u.shard(&t.Slot)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.noted[key] >= hour {
		return
	}
	if sh.noted == nil {
		sh.noted = make(map[uint64]int64)
		sh.unsent = make(map[Slot]sighting)
	}
	sh.noted[key] = hour
	seen := sighting{digest: t.Digest, hour: hour, expires: t.ExpiresAt.Unix()}
	if t.Lifetime >= useHour {
		if until := t.livesUntil(useHourStart(&t.Digest, hour+1), u.options.MaxLifetime); until > seen.expires {
			seen.until = until
		}
	}
	if seen.until == 0 && useHourStart(&t.Digest, hour) <= t.IssuedAt.Unix() && t.Key == "" {
		return // the sign-in itself counts as a use
	}
	sh.unsent[t.Slot] = seen
	if seen.until != 0 && seen.expires-now < int64(useHurry/time.Second) {
		select {
		case u.hurry <- struct{}{}:
		default:
		}
	}
}

// run records the noted uses until the context ends, and then once more, for at
// most [Options.Timeout].
func (u *useLog) run(ctx context.Context) {
	ticker := time.NewTicker(useFlushed)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.options.Timeout)
			defer cancel()
			u.flush(last)
			return
		case <-ticker.C:
		case <-u.hurry:
		}
		u.flush(ctx)
	}
}

// flush records the noted uses. It returns an error if some of them could not be
// recorded. It then keeps those for the next call.
func (u *useLog) flush(ctx context.Context) error {
	u.flushing.Lock()
	defer u.flushing.Unlock()
	var failed error
	for batch := range slices.Chunk(u.take(), usesAtOnce) {
		if err := u.record(ctx, batch); err != nil {
			u.putBack(batch)
			if failed == nil { // one error is enough for the log
				failed = err
			}
		}
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled): // run tries once more
	case failed != nil && !u.failing:
		u.failing = true
		u.options.Logger.ErrorContext(ctx, "tokenauth: it could not be recorded when tokens were used; until it can, "+u.options.unrecordedUses(), "error", unavailable("recording when tokens were used", failed))
	case failed == nil && u.failing:
		u.failing = false
		u.options.Logger.InfoContext(ctx, "tokenauth: it is recorded again when tokens are used")
	}
	return failed
}

// unrecordedUses says what happens while uses are not recorded.
func (o *Options) unrecordedUses() string {
	if o.IdleTimeout != 0 || o.MaxLifetime != 0 {
		return "tokens in use may end as idle or expired"
	}
	return "lists of devices and API keys show too early a last use"
}

// A slotSighting is a sighting of the token in a slot.
type slotSighting struct {
	slot Slot
	sighting
}

// take returns the sightings that were not recorded yet, sorted by their slots.
// It also forgets the notes of earlier hours.
func (u *useLog) take() (all []slotSighting) {
	oldest := u.options.Now().Unix()/int64(useHour/time.Second) - 1
	for i := range u.shards {
		sh := &u.shards[i]
		sh.mu.Lock()
		for slot, seen := range sh.unsent {
			all = append(all, slotSighting{slot, seen})
		}
		clear(sh.unsent)
		for key, hour := range sh.noted {
			if hour < oldest {
				delete(sh.noted, key)
			}
		}
		sh.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b slotSighting) int {
		x, y := a.slot.bytes(), b.slot.bytes()
		return bytes.Compare(x[:], y[:])
	})
	return all
}

// putBack keeps sightings for the next flush, except those of slots that have a
// newer one.
func (u *useLog) putBack(batch []slotSighting) {
	for _, seen := range batch {
		sh := u.shard(&seen.slot)
		sh.mu.Lock()
		if _, newer := sh.unsent[seen.slot]; !newer {
			sh.unsent[seen.slot] = seen.sighting
		}
		sh.mu.Unlock()
	}
}

func (u *useLog) record(ctx context.Context, batch []slotSighting) error {
	now := u.options.Now().Unix()
	uses := make([]Use, len(batch))
	for i, seen := range batch {
		uses[i] = Use{Slot: seen.slot, Digest: seen.digest, At: time.Unix(useHourStart(&seen.digest, seen.hour), 0).UTC()}
		// After an outage of the storage, a token may already have been refused
		// as expired. It stays expired.
		if seen.until != 0 && seen.expires > now {
			uses[i].ExpiresAt = time.Unix(seen.until, 0).UTC()
		}
	}
	return u.send(ctx, uses)
}

// send passes uses to the storage.
func (u *useLog) send(ctx context.Context, uses []Use) error {
	call, cancel, err := u.timeout.Call(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return recoverPanic("the storage", func() error { return u.recorder.RecordUses(call, uses) })
}

// endIdle ends the tokens that were not used for [Options.IdleTimeout]. It
// records the uses that this process has noted first. If that fails, it ends no
// token.
func (u *useLog) endIdle(ctx context.Context) {
	if u.options.IdleTimeout == 0 || u.flush(ctx) != nil {
		return
	}
	// A use is recorded with the beginning of its hour, so the token may have
	// been used an hour later. Another replica may have noted a later use that it
	// has not recorded yet.
	before := u.options.Now().Add(-u.options.IdleTimeout - useHour - 2*useFlushed)
	var ended int64
	err := recoverPanic("the storage", func() (err error) {
		ended, err = u.recorder.RevokeUnused(ctx, before)
		return err
	})
	if ended > 0 || err != nil {
		u.changed()
	}
	if ended > 0 {
		u.options.Logger.InfoContext(ctx, "tokenauth: idle tokens ended", "ended", ended, "idle_timeout", u.options.IdleTimeout.String())
	}
	if err != nil && ctx.Err() == nil {
		u.options.Logger.ErrorContext(ctx, "tokenauth: idle tokens could not be ended; they stay valid until a later attempt", "error", unavailable("ending idle tokens", err))
	}
}
