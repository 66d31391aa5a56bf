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

// A heartbeat is stored in the hash of a reserved [tokenauth.UserKey], which no
// real user has: the first 96 of its 128 bits are zero. Replicas of an older
// version also see this key, so it must look like a user's hash. They treat its
// invalidations as those of one user, and their RevokeClient deletes a field of
// every hash.
//
// The other 32 bits are a number other than zero. On a cluster the number is
// chosen so that the key is in a slot of the intended master.
const (
	reservedZeros = 12 // bytes
	beatField     = "beat"
	// beatLife is how long the hash stays after the last heartbeat.
	beatLife = time.Hour
)

// beatKey returns the name of the hash for heartbeats with this number.
func (s *Store) beatKey(number uint32) string {
	var u tokenauth.UserKey
	binary.BigEndian.PutUint32(u[reservedZeros:], number)
	return s.key(u)
}

// isBeat reports whether the name is that of a hash for heartbeats. It accepts
// any prefix: another service's prefix may begin with this one, and its hash
// holds no token either.
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

// readBeat returns the heartbeat in the hash, or "" if there is none. It sends
// the command that [Store.Find] sends, so it reads from the same server.
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

// writeBeat stores the successor of the heartbeat that was read, and returns it.
// It returns "" if the stored heartbeat is not the one that was read: another
// replica was faster, or the client reads from another server.
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

// beatScript stores the next heartbeat in the hash KEYS[1] and returns it, if the
// current one is ARGV[2]. ARGV[1] is the field, ARGV[3] a random string, and
// ARGV[4] how many seconds the hash stays.
//
// A heartbeat has three words: the name of a chain, a number that counts up in
// this chain, and a random string. If no heartbeat is stored, a new chain begins.
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

// follows reports whether new is old or a later heartbeat of the same chain.
// Otherwise the database was swapped with another one, or its keys were removed.
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
