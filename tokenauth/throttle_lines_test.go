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

// An anyName is an Authenticator in which each user name has an account with the
// name as its ID.
type anyName struct{ *slowUsers }

func (e anyName) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if err := c.CountAttempt(ctx, c.UserName); err != nil {
		return tokenauth.Principal{}, err
	}
	return e.slowUsers.Authenticate(ctx, c)
}

// Many concurrent sign-ins to one account, from all /64 of one /48 or from a
// few addresses, do not block other users.
func TestLoadFromOneNetworkBlocksNoOther(t *testing.T) {
	t.Parallel()
	for name, from := range map[string]func(i int) string{
		"one 48-bit network": func(i int) string { return fmt.Sprintf("2001:db8:1:%x::1", i) },
		"a dozen addresses":  func(i int) string { return fmt.Sprintf("192.0.2.%d", 100+i%12) },
	} {
		for _, byName := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s by name %v", name, byName), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					d := &throttleTest{T: t, slowUsers: new(slowUsers)}
					var users tokenauth.Authenticator = d.slowUsers
					if !byName {
						users = anyName{d.slowUsers}
					}
					d.auth = newService(t, new(memory.Store), users, nil)
					d.expect("alice", "right", there, "in")
					defer d.startLoad(4400, from)() // more than the throttle lets wait
					for i := range 3 {
						time.Sleep(100 * time.Millisecond)
						began := time.Now()
						d.expect("alice", "right", there, "in")
						d.expect(fmt.Sprint("bob", i), "right", fmt.Sprintf("203.0.113.%d", i), "in")
						if took := time.Since(began); took > 5*time.Second {
							t.Errorf("both sign-ins took %v, want 5s or less", took)
						}
					}
				})
			})
		}
	}
}

// In one network, sources with many waiting sign-ins make room for a source
// with few.
func TestLoadFromOneSourceDoesNotBlockItsNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &throttleTest{T: t, slowUsers: new(slowUsers)}
		d.auth = newService(t, new(memory.Store), d.slowUsers, nil)
		defer d.startLoad(4400, func(int) string { return "2001:db8:1:1::1" })()
		d.expect("bob", "right", "2001:db8:1:2::1", "in")
	})
}

func credentials(userName, password, from string) tokenauth.Credentials {
	return tokenauth.Credentials{UserName: userName, Password: tokenauth.NewSecret(password), RemoteAddr: netip.MustParseAddr(from)}
}

// startLoad starts n concurrent sign-ins of mallory, which continue until leave is
// called.
func (d *throttleTest) startLoad(n int, from func(i int) string) (leave func()) {
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
