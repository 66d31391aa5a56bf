package inject

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A redisFeed is a Redis server into whose client tracking faults are injected.
type redisFeed struct{ *redisServer }

func redisFeedTarget(tb testing.TB, b *store.Backend, ownBeat bool) *Target {
	tb.Helper()
	option, err := rueidis.ParseURL(b.DSN)
	if err != nil {
		tb.Fatal("torture: inject: the DSN of Redis is not a URL")
	}
	s := &redisFeed{newRedisServer(tb, option)}
	must(tb, s.do("ACL SETUSER "+lowly+" reset on >torture "+rights)(tb.Context()))
	var ear, firstEar deaf
	replicas := 0
	p := &Target{Faults: append(s.faults(), ear.fault("push messages dropped"), firstEar.fault("push messages dropped at one replica"))}
	p.Connect = func(tb testing.TB, _ []*network.Network) tokenauth.Storage {
		near := option
		near.Username, near.Password, near.ConnWriteTimeout = lowly, "torture", store.RedisPatience
		near.DialCtxFn = ear.dial(near)
		if replicas++; replicas%3 == 1 {
			near.DialCtxFn = firstEar.dial(near)
		}
		sound := store.OpenRedis(tb, near)
		if ownBeat {
			return ownBeatOfRedis(sound, near)
		}
		return sound
	}
	return p
}

// rights are the access rights of the services.
const rights = "~torture:* ~{torture:* +@all"

func (s *redisFeed) faults() []*Fault {
	const user = "ACL SETUSER " + lowly + " "
	without := func(what string) *Fault {
		return s.between("without the right "+what, []string{user + what}, []string{user + rights})
	}
	removes := s.onBeats("DEL", "%")
	return []*Fault{
		once("tracking connections killed", s.killTracking),
		while("tracking connections killed again and again", whileItLasts, Again(20*time.Millisecond, s.killTracking)),
		once("heartbeat deleted", removes),
		while("heartbeat deleted again and again", whileItLasts, Again(10*time.Millisecond, removes)),
		once("heartbeat overwritten", s.onBeats("HSET", "%", "beat", "x")),
		fromTo("heartbeat of another type", func(ctx context.Context) error {
			return s.onBeats("SET", "%", "x")(ctx)
		}, removes),
		without("-hset"), without("-hget"), without("-evalsha"), without("resetkeys"),
		fromTo("no connections for the user, tracking ones killed", func(ctx context.Context) error {
			if err := s.do(user + "off")(ctx); err != nil {
				return err
			}
			return s.killTracking(ctx)
		}, s.do(user+"on")),
		fromTo("without the right -client, tracking connections killed", func(ctx context.Context) error {
			if err := s.do(user + "-client")(ctx); err != nil {
				return err
			}
			return s.killTracking(ctx)
		}, s.do(user+rights)),
		s.between("out of memory", []string{"CONFIG SET maxmemory 1"}, []string{"CONFIG SET maxmemory 0"}),
		s.between("too few replicas to write", []string{"CONFIG SET min-replicas-to-write 1"}, []string{"CONFIG SET min-replicas-to-write 0"}),
		s.between("replica of a dead host", []string{"REPLICAOF 127.0.0.1 1"}, []string{"REPLICAOF NO ONE"}),
		s.between("writes paused", []string{"CLIENT PAUSE 60000 WRITE"}, []string{"CLIENT UNPAUSE"}),
		once("all clients paused", s.do("CLIENT PAUSE 300 ALL")),
		once("databases swapped, with a copy of the keys", s.swap),
	}
}

// killTracking kills only the connections with client tracking.
func (s *redisFeed) killTracking(ctx context.Context) error {
	m, err := s.ask(ctx, s.admin, "CLIENT", "LIST")
	if err != nil {
		return err
	}
	list, err := m.ToString()
	if err != nil {
		return err
	}
	for line := range strings.Lines(strings.TrimPrefix(list, "txt:")) { // the prefix of a verbatim string
		var id, flags string
		for _, field := range strings.Fields(line) {
			if name, value, _ := strings.Cut(field, "="); name == "id" {
				id = value
			} else if name == "flags" {
				flags = value
			}
		}
		if strings.Contains(flags, "t") { // no error if the connection has closed meanwhile
			if _, err := s.ask(ctx, s.admin, "CLIENT", "KILL", "ID", id); err != nil {
				return err
			}
		}
	}
	return nil
}

// onBeats returns a function that runs the command for each key with heartbeats. In
// the command, % stands for the key.
func (s *redisFeed) onBeats(command ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		m, err := s.ask(ctx, s.admin, "KEYS", "torture:"+strings.Repeat("00", 12)+"????????")
		if err != nil {
			return err
		}
		keys, err := m.AsStrSlice()
		if err != nil {
			return err
		}
		for _, key := range keys {
			var asked []string
			for _, part := range command {
				asked = append(asked, strings.ReplaceAll(part, "%", key))
			}
			if _, err := s.ask(ctx, s.admin, asked...); err != nil {
				return err
			}
		}
		return nil
	}
}

// swap replaces the database with one that has copies of all keys.
func (s *redisFeed) swap(ctx context.Context) error {
	_, err := s.ask(ctx, s.admin, "EVAL", `
for _, key in ipairs(redis.call('KEYS', 'torture:*')) do redis.call('COPY', key, key, 'DB', 1, 'REPLACE') end
redis.call('SWAPDB', 0, 1)
redis.call('SELECT', 1)
redis.call('FLUSHDB')`, "0")
	return err
}
