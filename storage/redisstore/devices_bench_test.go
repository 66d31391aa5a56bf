package redisstore_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// BenchmarkDevices compares a service whose users all have one device with a
// service where half of the users have ten. There are 2,000 users in each, or
// 100,000 with TOKENAUTH_LONG.
//
// The calls "among tens" are for users with one device of the second service,
// and must take as long as those of the first. The calls "of tens" are for users
// with ten devices. The metrics are those of [BenchmarkStore], where "bare" is
// the same call in the first service.
func BenchmarkDevices(b *testing.B) {
	users := 2000
	if throwaway.Long() {
		users = 100_000
	}
	const tens = 10
	every := users / benchTokens // of so many users, the calls choose one
	client := open(b, option(b, throwaway.StartRedis(b).DSN()))
	type side struct {
		store tokenauth.Lister
		auth  *tokenauth.Service
		users [benchTokens]string // the users of which the calls choose one
		token [benchTokens]string // the access token that each of them got last
	}
	issue := func(s *side, user string, device int) string {
		issued, err := s.auth.Issue(b.Context(), tokenauth.Principal{UserID: user, UserName: "somebody", Roles: []string{"Reader"}, Stamp: "stamp"},
			&tokenauth.IssueOptions{ClientID: "app", Device: fmt.Sprint("device", device), DeviceName: "somebody's phone"})
		if err != nil {
			b.Error(err)
		}
		return issued.AccessToken.Reveal()
	}
	// fill stores the tokens of all users. Users that no call chooses have tokens
	// in slots that no service would choose.
	fill := func(prefix string, devicesOf func(at int) int) *side {
		store := newStore(b, client, prefix)
		s := &side{store: store, auth: service(b, store, tokenauth.Options{Devices: &tokenauth.DeviceOptions{}})}
		var wg sync.WaitGroup
		const workers = 64
		for w := range workers {
			wg.Go(func() {
				for i := w; i < users; i += workers {
					user, at := fmt.Sprint("user", i), i/every
					for d := range devicesOf(at) {
						if i%every == 0 {
							s.users[at], s.token[at] = user, issue(s, user, d)
							continue
						}
						token := deviceToken(user, byte(d), "somebody's phone", time.Hour)
						token.Principal = tokenauth.Principal{UserID: user, UserName: "somebody", Roles: []string{"Reader"}, Stamp: "stamp"}
						if err := store.Replace(b.Context(), token); err != nil {
							b.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		return s
	}
	one := fill("one:", func(int) int { return 1 })
	// The last device of a chosen user is the one that signs in again.
	mixed := fill("mixed:", func(at int) int { return 1 + at%2*(tens-1) })
	const goroutines = 16
	for _, call := range []struct {
		name string
		do   func(s *side, i, devices int) error
	}{
		{"validate", func(s *side, i, _ int) error {
			_, err := s.auth.Validate(b.Context(), s.token[i])
			return err
		}},
		{"list", func(s *side, i, devices int) error {
			tokens, err := s.store.List(b.Context(), tokenauth.UserKeyOf(s.users[i]))
			if err == nil && len(tokens) != devices {
				return fmt.Errorf("user %s has %d tokens, want %d", s.users[i], len(tokens), devices)
			}
			return err
		}},
		// Sign-ins come last, because they replace the tokens to validate.
		{"sign-in", func(s *side, i, devices int) error { issue(s, s.users[i], devices-1); return nil }},
	} {
		for odd, name := range []string{"among tens", "of tens"} {
			b.Run(call.name+" "+name, func(b *testing.B) {
				devices := 1 + odd*(tens-1)
				takeTurns(b, goroutines,
					func(i int) error { return call.do(mixed, i/2*2+odd, devices) },
					func(i int) error { return call.do(one, i, 1) })
			})
		}
	}
}
