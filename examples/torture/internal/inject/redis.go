package inject

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A redisServer is a Redis server into which faults are injected, as its operator sees
// it. Admin is a connection from before the fault, and other is for long commands.
type redisServer struct{ admin, other rueidis.Client }

func redisTarget(tb testing.TB, b *store.Backend) *Target {
	tb.Helper()
	option, err := rueidis.ParseURL(b.DSN)
	if err != nil {
		tb.Fatal("torture: inject: the DSN of Redis is not a URL")
	}
	u, err := url.Parse(b.DSN)
	must(tb, err)
	s := newRedisServer(tb, option)
	p := &Target{Network: "unix", Addresses: []string{u.Path}}
	p.Connect = func(tb testing.TB, networks []*network.Network) tokenauth.Storage {
		near := option
		if networks != nil {
			near = rueidis.ClientOption{InitAddress: []string{networks[0].Entrance()}}
		}
		near.ConnWriteTimeout = store.RedisPatience
		return store.OpenRedis(tb, near)
	}
	p.Faults = append(serverFaults(tb, b.Server, nil), networkFaults()...)
	p.Faults = append(p.Faults, s.faults()...)
	p.Faults = append(p.Faults, s.loads(tb, b.Server), s.cannotSave())
	p.Afterwards = tellPatience
	return p
}

// tellPatience returns the note of the report about the client's timeout.
func tellPatience(context.Context) (string, error) {
	return fmt.Sprintf("ClientOption.ConnWriteTimeout of rueidis was %v. With its default of 10 s, calls on connections that the network silently dropped fail for 10 s and a second more.", store.RedisPatience), nil
}

func newRedisServer(tb testing.TB, option rueidis.ClientOption) *redisServer {
	tb.Helper()
	option.DisableCache, option.ForceSingleClient = true, true
	var clients [2]rueidis.Client
	for i := range clients {
		var err error
		clients[i], err = rueidis.NewClient(option)
		must(tb, err)
		tb.Cleanup(clients[i].Close)
	}
	return &redisServer{clients[0], clients[1]}
}

// do returns a function that runs the commands.
func (s *redisServer) do(commands ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, command := range commands {
			if _, err := s.ask(ctx, s.admin, strings.Fields(command)...); err != nil {
				return err
			}
		}
		return nil
	}
}

// ask sends a command and returns the answer. It tries again for 20 seconds, because
// its connection may have broken in a restart of the server.
func (s *redisServer) ask(ctx context.Context, client rueidis.Client, command ...string) (rueidis.RedisMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		m, err := client.Do(ctx, client.B().Arbitrary(command...).Build()).ToMessage()
		if err == nil || rueidis.IsRedisNil(err) {
			return m, nil
		}
		if _, refused := rueidis.IsRedisErr(err); refused || ctx.Err() != nil {
			return m, fmt.Errorf("%s: %w", command[0], err)
		}
		Wait(ctx, 10*time.Millisecond)
	}
}

// until sends the command until is returns true for the answer.
func (s *redisServer) until(ctx context.Context, is func(answer string) bool, command ...string) error {
	var answer string
	err := until(ctx, func(ctx context.Context) (bool, error) {
		m, err := s.ask(ctx, s.admin, command...)
		if err != nil {
			return false, err
		}
		answer, _ = m.ToString()
		return is(answer), nil
	})
	if err != nil {
		return fmt.Errorf("waiting for another answer to %v than %q: %w", command, answer, err)
	}
	return nil
}

// all returns a function that runs the commands on all servers.
func all(servers []*redisServer, commands ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, s := range servers {
			if err := s.do(commands...)(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// says returns when the server's answer to INFO contains all texts.
func (s *redisServer) says(ctx context.Context, section string, texts ...string) error {
	return s.until(ctx, func(answer string) bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(answer, text) })
	}, "INFO", section)
}

func (s *redisServer) between(name string, begin, end []string) *Fault {
	return fromTo(name, s.do(begin...), s.do(end...))
}

func (s *redisServer) faults() []*Fault {
	kill := s.do("CLIENT KILL TYPE normal")
	return []*Fault{
		once("connections killed, once", kill),
		while("connections killed, 20 times a second", whileItLasts, Again(50*time.Millisecond, kill)),
		s.between("out of memory", []string{"CONFIG SET maxmemory 1"}, []string{"CONFIG SET maxmemory 0"}),
		s.between("writes paused", []string{"CLIENT PAUSE 60000 WRITE"}, []string{"CLIENT UNPAUSE"}),
		s.between("replica of a dead host", []string{"REPLICAOF 127.0.0.1 1"}, []string{"REPLICAOF NO ONE"}),
		s.between("replica of a dead host, no stale answers",
			[]string{"CONFIG SET replica-serve-stale-data no", "REPLICAOF 127.0.0.1 1"},
			[]string{"REPLICAOF NO ONE", "CONFIG SET replica-serve-stale-data yes"}),
		s.between("four connections at most, the others killed",
			[]string{"CONFIG SET maxclients 4", "CLIENT KILL TYPE normal", "CLIENT KILL TYPE pubsub"}, []string{"CONFIG SET maxclients 1000"}),
		s.between("too few replicas to write", []string{"CONFIG SET min-replicas-to-write 1"}, []string{"CONFIG SET min-replicas-to-write 0"}),
		{Name: "busy with a script", Lasts: whileItLasts, Strike: s.busy},
	}
}

// busy runs a script that does not end until it is killed.
func (s *redisServer) busy(ctx context.Context) (func() error, error) {
	if err := s.do("CONFIG SET busy-reply-threshold 50")(ctx); err != nil {
		return nil, err
	}
	ended := meanwhile(ctx, func(context.Context) error {
		s.ask(ctx, s.other, "EVAL", "while true do end", "0") // returns an error when the script is killed
		return nil
	})
	return func() error {
		if err := s.do("SCRIPT KILL")(ctx); err != nil {
			return err
		}
		return ended()
	}, nil
}

// loads returns a [Fault] that restarts the server with so much data that it answers
// LOADING for a while.
func (s *redisServer) loads(tb testing.TB, server *throwaway.Server) *Fault {
	return &Fault{Name: "server killed, and loads for long", Strike: func(ctx context.Context) (func() error, error) {
		const keys, script = 500_000, "redis.call('SELECT', 1) for i = tonumber(ARGV[1]), ARGV[1] + 99999 do redis.call('SET', i, i) end"
		for i := 0; i < keys; i += 100_000 {
			if _, err := s.ask(ctx, s.admin, "EVAL", script, "0", fmt.Sprint(i)); err != nil {
				return nil, err
			}
		}
		server.Kill(tb)
		server.Start(tb) // returns when the data is loaded
		return func() error {
			// Remove the data, so that later restarts are fast.
			_, err := s.ask(ctx, s.admin, "EVAL", "redis.call('SELECT', 1) return redis.call('FLUSHDB', 'ASYNC')", "0")
			return errors.Join(err, s.do("BGREWRITEAOF")(ctx))
		}, nil
	}}
}
