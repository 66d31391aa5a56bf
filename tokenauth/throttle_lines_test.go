package tokenauth_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// everybody has an account, whose ID is the name.
type everybody struct{ *gatekeeper }

func (e everybody) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if err := c.CountAttempt(ctx, c.UserName); err != nil {
		return tokenauth.Principal{}, err
	}
	return e.gatekeeper.Authenticate(ctx, c)
}

// Sign-ins from all /64 of one /48, or from a few addresses, to an account of their
// own keep nobody else out, however many they are.
func TestCrowdOfOneNetworkKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	for name, from := range map[string]func(i int) string{
		"a /48":             func(i int) string { return fmt.Sprintf("2001:db8:1:%x::1", i) },
		"a dozen addresses": func(i int) string { return fmt.Sprintf("192.0.2.%d", 100+i%12) },
	} {
		for _, byName := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s by name %v", name, byName), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					d := &door{T: t, gatekeeper: new(gatekeeper)}
					var users tokenauth.Authenticator = d.gatekeeper
					if !byName {
						users = everybody{d.gatekeeper}
					}
					d.auth = newService(t, new(memory.Store), users, nil)
					d.expect("alice", "right", there, "in")
					defer d.crowd(4400, from)() // more than may wait
					for i := range 3 {
						time.Sleep(100 * time.Millisecond)
						began := time.Now()
						d.expect("alice", "right", there, "in")
						d.expect(fmt.Sprint("bob", i), "right", fmt.Sprintf("203.0.113.%d", i), "in")
						if took := time.Since(began); took > 5*time.Second {
							t.Errorf("both took %v", took)
						}
					}
				})
			})
		}
	}
}

// Of one network, the sources that have many waiting make room for one that has few.
func TestCrowdOfOneSourceKeepsItsNetworkNotOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &door{T: t, gatekeeper: new(gatekeeper)}
		d.auth = newService(t, new(memory.Store), d.gatekeeper, nil)
		defer d.crowd(4400, func(int) string { return "2001:db8:1:1::1" })()
		d.expect("bob", "right", "2001:db8:1:2::1", "in")
	})
}

func credentials(userName, password, from string) tokenauth.Credentials {
	return tokenauth.Credentials{UserName: userName, Password: tokenauth.NewSecret(password), RemoteAddr: netip.MustParseAddr(from)}
}

// crowd has mallory sign in so often at once, until the func is called.
func (d *door) crowd(n int, from func(i int) string) (leave func()) {
	ctx, cancel := context.WithCancel(d.Context())
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { d.auth.SignIn(ctx, credentials("mallory", "right", from(i))) })
	}
	synctest.Wait()
	return func() {
		cancel()
		wg.Wait()
	}
}
