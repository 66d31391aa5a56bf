package redisstore_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// withoutHello returns the option with connections to a server without HELLO,
// like Redis 5. They replace the command's name by an unknown one, and replace it
// back in the answer.
func withoutHello(o rueidis.ClientOption) rueidis.ClientOption {
	dial := dialOf(o)
	o.DialCtxFn = func(ctx context.Context, address string, d *net.Dialer, c *tls.Config) (net.Conn, error) {
		conn, err := dial(ctx, address, d, c)
		if err != nil {
			return nil, err
		}
		return oldConn{conn}, nil
	}
	return o
}

type oldConn struct{ net.Conn }

func (c oldConn) Write(p []byte) (int, error) {
	return c.Conn.Write(bytes.ReplaceAll(p, []byte("HELLO"), []byte("HELL0")))
}

func (c oldConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	copy(p[:n], bytes.ReplaceAll(p[:n], []byte("HELL0"), []byte("HELLO")))
	return n, err
}

// The store needs neither RESP3 nor CLIENT TRACKING if the client has no cache.
// The feed needs both, and its error names the missing one.
func TestStoreWorksWithoutTracking(t *testing.T) {
	t.Parallel()
	o := option(t, throwaway.StartRedis(t).DSN())
	do(t, open(t, o), "ACL", "SETUSER", "service", "reset", "on", ">password", "~*", "+@all", "-client")
	refused := o
	refused.Username, refused.Password = "service", "password"
	for _, test := range []struct {
		name string
		rueidis.ClientOption
		says string
	}{
		{"refused", refused, "needs CLIENT TRACKING"},
		{"RESP2", withoutHello(o), "needs HELLO 3 (RESP3)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := test.ClientOption
			o.DisableCache = false
			if client, err := rueidis.NewClient(o); !errors.Is(err, rueidis.ErrNoCache) {
				t.Errorf("with a cache, NewClient returns %v, error %v, want ErrNoCache", client, err)
			}
			o.DisableCache = true
			prefix := test.name + ":"
			w := watched(t, o, prefix)
			token := newToken("alice", "", 1, time.Hour)
			replace(t, w, token)
			if _, err := w.Find(t.Context(), token.Slot); err != nil {
				t.Error(err)
			}
			record(t, w, useOf(token, time.Now()))
			if got := listed(t, w, token.Slot.User, token.Digest); got.LastSeen.IsZero() {
				t.Errorf("List returns %v, want a token with its last use", got)
			}
			if ended, err := w.RevokeUnused(t.Context(), token.IssuedAt.Add(2*time.Hour)); err != nil || ended != 1 {
				t.Errorf("RevokeUnused returns %d, error %v, want 1", ended, err)
			}
			replace(t, w, token)
			if err := w.UpdateCounters(t.Context(), []throttle.Key{{1}}, count); err != nil {
				t.Error(err)
			}
			if err := errors.Join(w.RevokeClient(t.Context(), token.ClientID),
				w.Revoke(t.Context(), token.Slot, token.Digest), w.RevokeUser(t.Context(), token.Slot.User)); err != nil {
				t.Error(err)
			}
			replace(t, w, token)
			record(t, w, useOf(token, time.Now()))
			if err := w.RevokeAll(t.Context()); err != nil {
				t.Error(err)
			}
			if left := keys(t, open(t, o), prefix); len(left) > 0 {
				t.Errorf("after all tokens and counters are gone, the keys are %v", left)
			}
			refuses(t, w, test.says)
		})
	}
}
