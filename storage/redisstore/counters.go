package redisstore

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

var _ throttle.Storage = (*Store)(nil)

// UpdateCounters implements [throttle.Storage] with optimistic concurrency. It
// reads the counters with one MGET. A script then stores the changed counters,
// unless one of the counters has changed in Redis since the MGET. In that case
// the script returns the current counters, and UpdateCounters repeats the
// update with them. It repeats the update until the script succeeds or the
// context ends. Each repetition means that another call has succeeded, or that
// a counter has expired.
func (s *Store) UpdateCounters(ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
	names := make([]string, len(keys))
	for i := range keys {
		names[i] = s.counterKey(keys[i])
	}
	values, err := await(ctx, func() ([]rueidis.RedisMessage, error) {
		return s.client.Do(ctx, s.read("MGET", names)).ToArray()
	})
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		before, counters, err := readCounters(values)
		if err != nil {
			return err
		}
		after := slices.Clone(counters)
		change(after)
		if slices.Equal(after, counters) {
			return nil
		}
		values, err = await(ctx, func() ([]rueidis.RedisMessage, error) {
			return storeScript.Exec(ctx, s.client, names, storeArgs(keys, before, counters, after)).ToArray()
		})
		if err != nil || len(values) == 0 {
			return err
		}
		if !first {
			continue
		}
		// Only one call on this Store retries at a time. Otherwise, many
		// concurrent calls could make each other fail again and again.
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// counterKey returns the name of a counter in Redis. On a cluster, the braces
// put all counters into one slot. The counters of one update must be in the
// same slot, and one update may combine any sign-in source with any account.
//
// Because of the braces, the name does not begin with the prefix. The feed
// tracks only keys with the prefix, so it does not receive a message for each
// sign-in.
func (s *Store) counterKey(k throttle.Key) string {
	var buffer [maxPrefixLength + 2 + 2*len(k)]byte
	name := append(append(append(buffer[:0], '{'), s.prefix...), '}')
	return string(hex.AppendEncode(name, k[:]))
}

// readCounters decodes the reply to MGET. It returns the values as they are
// stored, and the counters that they encode. If a counter is not stored, its
// value is empty and the counter is zero.
func readCounters(messages []rueidis.RedisMessage) (values []string, counters []throttle.Counter, err error) {
	values, counters = make([]string, len(messages)), make([]throttle.Counter, len(messages))
	for i := range messages {
		if messages[i].IsNil() {
			continue
		}
		if values[i], err = messages[i].ToString(); err != nil {
			return nil, nil, err
		}
		if counters[i], err = decodeCounter(values[i]); err != nil {
			return nil, nil, err
		}
	}
	return values, counters, nil
}

// The stored value of a [throttle.Counter] begins with one byte for the
// encoding version. The counter's five numbers follow as varints. A zero
// counter is not stored.
const counterEncoding = 1

func encodeCounter(c throttle.Counter) string {
	if c == (throttle.Counter{}) {
		return ""
	}
	var buffer [1 + 5*binary.MaxVarintLen64]byte
	value := append(buffer[:0], counterEncoding)
	for _, n := range [...]int64{c.Failures, c.FailedAt, c.Pending, c.PendingAt, c.SucceededAt} {
		value = binary.AppendVarint(value, n)
	}
	return string(value)
}

// decodeCounter is the inverse of encodeCounter. It rejects the empty value,
// and every value that encodeCounter never returns.
func decodeCounter(value string) (c throttle.Counter, err error) {
	if value != "" && value[0] == counterEncoding {
		rest := []byte(value[1:])
		for _, n := range []*int64{&c.Failures, &c.FailedAt, &c.Pending, &c.PendingAt, &c.SucceededAt} {
			size := 0
			*n, size = binary.Varint(rest)
			rest = rest[max(size, 0):]
		}
	}
	if value == "" || encodeCounter(c) != value {
		return throttle.Counter{}, fmt.Errorf("redisstore: a counter has an invalid value of %d bytes", len(value))
	}
	return c, nil
}

// counterLife returns how many milliseconds Redis must keep a counter that was
// just changed. It uses the latest time in the counter as the current time, so
// the service's clock and Redis's clock may differ.
func counterLife(key throttle.Key, c throttle.Counter) int64 {
	return max(c.ExpiresAt(key)-max(c.FailedAt, c.PendingAt, c.SucceededAt), 1)
}

// storeArgs returns the ARGV of storeScript. For an unchanged counter, the new
// value is exactly the value that was read, so that the script does not write
// it.
func storeArgs(keys []throttle.Key, before []string, counters, after []throttle.Counter) []string {
	args := slices.Grow(slices.Clone(before), 2*len(after))
	for i := range after {
		if after[i] == counters[i] {
			args = append(args, before[i])
		} else {
			args = append(args, encodeCounter(after[i]))
		}
	}
	for i := range after {
		args = append(args, strconv.FormatInt(counterLife(keys[i], after[i]), 10))
	}
	return args
}

// storeScript stores new counter values under KEYS if the stored values still
// equal the old values. ARGV holds all old values, then all new values, and
// then the lifetime of each counter in milliseconds. An empty value stands for
// a key that does not exist. The script returns an empty list if it stored the
// counters, and otherwise the current values.
//
// If the connection breaks, the client may send the script twice. The second
// run finds the new values, so UpdateCounters repeats the update, and an
// attempt may be counted twice.
var storeScript = rueidis.NewLuaScript(`
local values = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
	if (values[i] or '') ~= ARGV[i] then
		return values
	end
end
for i, key in ipairs(KEYS) do
	local old, new, life = ARGV[i], ARGV[#KEYS + i], ARGV[2 * #KEYS + i]
	if new == '' and old ~= '' then
		redis.call('UNLINK', key)
	elseif new ~= old then
		redis.call('SET', key, new, 'PX', life)
	end
end
return {}
`)
