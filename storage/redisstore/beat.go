package redisstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A heartbeat is stored in a hash whose name has the same form as the name of a
// user's hash. The [tokenauth.UserKey] in the name belongs to no real user: the
// first 96 of its 128 bits are zero. The name has this form because service
// replicas that run an older version also see the hash. They treat a change to
// it as a change to one user. Their RevokeClient sends HDEL for the hash, and
// HDEL fails on any type other than a hash.
//
// The last 32 bits of the user key are a nonzero number. On a cluster, the
// number is chosen so that the hash is in a slot of the master that the
// heartbeat checks.
const (
	reservedZeros = 12 // the number of zero bytes at the beginning of the user key
	beatField     = "beat"
	// beatLife is how long Redis keeps the hash after the last heartbeat.
	beatLife = time.Hour
)

// beatKey returns the name of the heartbeat hash whose user key ends with
// number.
func (s *Store) beatKey(number uint32) string {
	var u tokenauth.UserKey
	binary.BigEndian.PutUint32(u[reservedZeros:], number)
	return s.key(u)
}

// isBeat reports whether name is the name of a heartbeat hash. It ignores the
// prefix: if another service's prefix starts with ours, our feed also receives
// that service's heartbeats. Those heartbeats change no tokens either.
func isBeat(name string) bool {
	const digits = 2 * len(tokenauth.UserKey{})
	if len(name) <= digits {
		return false
	}
	number, ok := strings.CutPrefix(name[len(name)-digits:], strings.Repeat("00", reservedZeros))
	if !ok {
		return false
	}
	_, err := hex.DecodeString(number)
	return err == nil
}

// readBeat returns the heartbeat in the hash named key, or "" if there is none.
// It sends the same command as [Store.Find], so that the client reads from the
// same server as for a token.
func (s *Store) readBeat(ctx context.Context, key string) (string, error) {
	value, err := await(ctx, func() (string, error) {
		return s.client.Do(ctx, s.read("HGET", []string{key}, beatField)).ToString()
	})
	if rueidis.IsRedisNil(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("the store's client cannot read the heartbeat: %w", err)
	}
	return value, nil
}

// writeBeat stores a new heartbeat, and returns it. The argument read is the
// result of readBeat, and the new heartbeat is the next one after it. If Redis
// now holds a heartbeat other than that result, writeBeat stores nothing and
// returns "". In that case another service replica was faster, or the client
// reads from a different server than it writes to.
func (s *Store) writeBeat(ctx context.Context, key, read string) (string, error) {
	value, err := await(ctx, func() (string, error) {
		return beatScript.Exec(ctx, s.client, []string{key},
			[]string{beatField, read, rand.Text(), strconv.Itoa(int(beatLife / time.Second))}).ToString()
	})
	if rueidis.IsRedisNil(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("the store's client cannot write the heartbeat, so it cannot change tokens either: %w", err)
	}
	return value, nil
}

// beatScript stores the next heartbeat in the hash KEYS[1], and returns that
// heartbeat. If the current heartbeat is not ARGV[2], the script stores nothing
// and returns nil. ARGV[1] is the field name, ARGV[3] a random string, and
// ARGV[4] how many seconds Redis keeps the hash.
//
// A heartbeat consists of three words: the name of its chain, its number in
// that chain, and a random string. A chain is a sequence of heartbeats that
// were stored one after another. If no heartbeat is stored, the script starts a
// new chain with number 1.
var beatScript = rueidis.NewLuaScript(`
local old = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if old ~= ARGV[2] then
	return false
end
local chain, number = string.match(old, '^(%w+) (%d+) ')
local new = (chain or ARGV[3]) .. ' ' .. string.format('%d', (number or 0) + 1) .. ' ' .. ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], new)
redis.call('EXPIRE', KEYS[1], ARGV[4])
return new
`)

// follows reports whether the two heartbeats are equal, or the second is a
// later heartbeat in the chain of the first. If neither is true, the database
// was swapped with another one, or its keys were removed.
func follows(old, new string) bool {
	if old == new {
		return true
	}
	oldChain, oldNumber := chainOf(old)
	newChain, newNumber := chainOf(new)
	return oldChain == newChain && oldNumber < newNumber
}

func chainOf(beat string) (chain string, number int64) {
	fields := strings.Fields(beat)
	if len(fields) != 3 {
		return beat, 0
	}
	number, _ = strconv.ParseInt(fields[1], 10, 64)
	return fields[0], number
}
