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

// A heartbeat is kept in the hash of a reserved user, which no real one has: 96
// of the 128 bits of its key are zero. It is a hash, and its name is that of a
// user, because replicas of an older version meet it as well: they take its
// invalidations for those of one user, and their sweeps delete a field of each
// hash.
//
// The other 32 bits are a number other than zero. On a cluster it is chosen so
// that the key is in a slot of a certain master.
const (
	reservedZeros = 12 // bytes
	beatField     = "beat"
	// beatLife is how long the hash stays after the last of the services.
	beatLife = time.Hour
)

// beatKey returns the name of a hash for heartbeats.
func (s *Store) beatKey(number uint32) string {
	var u tokenauth.UserKey
	binary.BigEndian.PutUint32(u[reservedZeros:], number)
	return s.key(u)
}

// isBeat returns whether the key of that name is one for heartbeats, of this
// prefix or of one that begins with it: neither holds a token.
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

// readBeat returns the heartbeat in the hash, empty if there is none. It reads
// on the way of Store.Find.
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

// writeBeat stores the heartbeat that follows the one that was read, and returns
// it. It is empty if another one is stored: another replica was faster, or what
// was read is not what is stored.
func (s *Store) writeBeat(ctx context.Context, key, read string) (string, error) {
	value, err := await(ctx, func() (string, error) {
		return beatScript.Exec(ctx, s.client, []string{key},
			[]string{beatField, read, rand.Text(), strconv.Itoa(int(beatLife / time.Second))}).ToString()
	})
	if rueidis.IsRedisNil(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("the store's client cannot write the heartbeat, and so not change tokens: %w", err)
	}
	return value, nil
}

// beatScript makes a heartbeat in the hash KEYS[1] and returns it, if the one
// before is ARGV[2]. ARGV[1] is the field, ARGV[3] random, and ARGV[4] for how
// many seconds the hash stays.
//
// A heartbeat is the name of its chain, its number in that, and what no other
// has. A chain begins where there is no heartbeat.
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

// follows returns whether a heartbeat was made from another in one step or more.
// If not, the keys are not those that were there before: somebody swapped the
// databases, or removed them.
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
