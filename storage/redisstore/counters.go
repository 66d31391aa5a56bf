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

// UpdateCounters implements [throttle.Storage] by optimistic concurrency. It
// reads the counters with one MGET, and a script stores the changed ones if none
// was changed in between. Otherwise the script returns the current counters, and
// UpdateCounters tries again with these until the context ends. It tries again
// only when another call has succeeded.
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
		// The retries of one process take turns, so that many concurrent calls
		// do not keep making each other fail.
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// counterKey returns the name of the counter's key. The braces put all counters
// into one slot of a cluster: the counters of one update must be in the same
// slot, and any source may share an update with any account.
//
// With the braces the name also does not begin with the prefix. So the feed,
// which tracks keys with the prefix, receives no message for each sign-in.
func (s *Store) counterKey(k throttle.Key) string {
	var buffer [maxPrefixLength + 2 + 2*len(k)]byte
	name := append(append(append(buffer[:0], '{'), s.prefix...), '}')
	return string(hex.AppendEncode(name, k[:]))
}

// readCounters decodes the reply to MGET. It returns the values as they are
// stored, and the counters in them. A counter that is not stored has an empty
// value and is zero.
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

// The value of a [throttle.Counter] is a byte for the version of the encoding,
// and then its five numbers as varints. The zero counter is not stored.
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

// decodeCounter is the inverse of encodeCounter. It rejects every value that
// encodeCounter does not return.
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
// just changed. It takes the latest time in the counter as the current time, so
// the clocks of the service and of Redis may differ.
func counterLife(key throttle.Key, c throttle.Counter) int64 {
	return max(c.ExpiresAt(key)-max(c.FailedAt, c.PendingAt, c.SucceededAt), 1)
}

// storeArgs returns the ARGV of storeScript. An unchanged counter keeps the exact
// value that was read, and the script does not write it.
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

// storeScript stores counters under KEYS if their values are still the old ones.
// ARGV holds all old values, then all new values, then how many milliseconds each
// counter stays. An empty value means that there is no key. The script returns an
// empty list if it stored the counters, and otherwise the current values.
//
// If the connection breaks, the client may send the script twice, and an attempt
// may be counted twice.
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
