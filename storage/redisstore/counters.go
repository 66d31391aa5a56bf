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

// UpdateCounters implements throttle.Storage. It reads the counters by
// one MGET. A script stores those that changed, if all still are as they were
// read; if not, it answers with what they are, and that is changed and tried
// again until the context ends. Each time that one has to try again another
// has got through.
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
		// From here on those of this process go one after the other, so that
		// many at once do not keep each other from getting through.
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// counterKey returns the name of the counter's key. The braces put all counters
// into one slot of a cluster: those of one update have to be there together,
// and each source shares updates with any account.
//
// They also keep it from beginning with the prefix, so that a feed, which hears
// of all keys that do, need not hear of each attempt to sign in.
func (s *Store) counterKey(k throttle.Key) string {
	var buffer [maxPrefixLength + 2 + 2*len(k)]byte
	name := append(append(append(buffer[:0], '{'), s.prefix...), '}')
	return string(hex.AppendEncode(name, k[:]))
}

// readCounters returns the values of counters, which are empty where there are
// none, and what is in them.
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

// A counter's value is a byte that names the encoding and its five numbers, as
// varints. The zero counter has none.
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

// decodeCounter is the inverse of encodeCounter, and knows nothing else.
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
		return throttle.Counter{}, fmt.Errorf("redisstore: a counter has a value of %d bytes that is none", len(value))
	}
	return c, nil
}

// counterLife returns for how many milliseconds from now a counter has to stay,
// which was changed now. No clock is compared with another: now is the latest
// that the counter knows of, or later.
func counterLife(key throttle.Key, c throttle.Counter) int64 {
	return max(c.ExpiresAt(key)-max(c.FailedAt, c.PendingAt, c.SucceededAt), 1)
}

// storeArgs returns the ARGV of storeScript. What has not changed it leaves
// alone.
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

// storeScript stores counters under KEYS if their values are as they were. ARGV
// has the value that each had, the one that it gets, and for how many
// milliseconds it stays; an empty one stands for none. The answer is empty, or
// the values as they are if nothing was stored.
//
// Should the client send it twice, because the connection breaks in between,
// an attempt may be counted twice.
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
