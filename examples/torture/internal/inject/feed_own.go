package inject

import (
	"context"
	"encoding/hex"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// An ownBeat is a [tokenauth.Watcher] with the bug of the plant "own-heartbeat":
// the feed sends and receives its heartbeat over the listening connection.
type ownBeat struct {
	tokenauth.Storage
	watch func(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error
}

// Watch implements [tokenauth.Watcher].
func (o *ownBeat) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	return o.watch(ctx, beat, feed)
}

func ownBeatOfPostgres(sound tokenauth.Storage, dsn string) tokenauth.Storage {
	return plant.With(sound, &ownBeat{sound, func(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		if _, err := conn.Exec(ctx, "LISTEN torture_feed"); err != nil {
			return err
		}
		for {
			asOf := time.Now()
			// Exec also reads the notifications that arrived before its answer.
			if _, err := conn.Exec(ctx, "SELECT pg_notify('torture_feed', 'beat own')"); err != nil {
				return err
			}
			for own := false; !own; {
				n, err := conn.WaitForNotification(ctx)
				if err != nil {
					return err
				}
				if own = n.Payload == "beat own" && n.PID == conn.PgConn().PID(); !own {
					tell(feed, n.Payload)
				}
			}
			feed.Heartbeat(asOf)
			Wait(ctx, beat)
		}
	}})
}

func ownBeatOfRedis(sound tokenauth.Storage, option rueidis.ClientOption) tokenauth.Storage {
	return plant.With(sound, &ownBeat{sound, func(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
		lost, cancel := context.WithCancel(ctx)
		defer cancel()
		option := option
		option.PipelineMultiplex, option.DisableRetry = -1, true
		option.ClientTrackingOptions = []string{"PREFIX", "torture:", "BCAST"}
		option.OnInvalidations = func(names []rueidis.RedisMessage) {
			if len(names) == 0 {
				feed.InvalidateAll()
				cancel()
			}
			for i := range names {
				name, _ := names[i].ToString()
				tell(feed, strings.TrimPrefix(name, "torture:"))
			}
		}
		client, err := rueidis.NewClient(option)
		if err != nil {
			return err
		}
		defer client.Close()
		for {
			asOf := time.Now()
			if err := client.Do(lost, client.B().Ping().Build()).Error(); err != nil {
				return err
			}
			feed.Heartbeat(asOf)
			Wait(lost, beat)
		}
	}})
}

// tell passes a message of the feed on. A user's key invalidates the user, a heartbeat
// nothing, and any other text all.
func tell(feed tokenauth.Invalidator, text string) {
	var u tokenauth.UserKey
	switch b, err := hex.DecodeString(text); {
	case err == nil && len(b) == len(u):
		feed.Invalidate(tokenauth.UserKey(b))
	case !strings.HasPrefix(text, "beat "):
		feed.InvalidateAll()
	}
}
