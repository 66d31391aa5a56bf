package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// refuse sends a sign-in with a wrong password from an address.
func refuse(t *testing.T, auth *tokenauth.Service, userName string, from netip.Addr) {
	t.Helper()
	c := tokenauth.Credentials{UserName: userName, Password: tokenauth.NewSecret("wrong"), RemoteAddr: from}
	if _, err := auth.SignIn(t.Context(), c); !errors.Is(err, tokenauth.ErrRejected) {
		t.Fatalf("SignIn: error %v, want ErrRejected", err)
	}
}

// accounts is an Authenticator that accepts each user name with the password
// "right".
type accounts struct{}

func (accounts) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if c.Password.Reveal() != "right" {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return tokenauth.Principal{UserID: "id-" + c.UserName, UserName: c.UserName}, nil
}

func TestSourcesDoNotSuppressEachOthersRecords(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	logger, log := logInto()
	auth := newService(t, new(memory.Store), accounts{}, &tokenauth.Options{
		Logger: logger, Now: func() time.Time { return now }, Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
	})
	here, there := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	signIn := func(userName string, from netip.Addr) {
		t.Helper()
		c := tokenauth.Credentials{UserName: userName, Password: tokenauth.NewSecret("right"), RemoteAddr: from}
		if _, err := auth.SignIn(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	expectLog := func(what string, part string, want int) {
		t.Helper()
		if got := strings.Count(log.String(), part); got != want {
			t.Errorf("%s: %d records have %q, want %d", what, got, part, want)
		}
		log.Reset()
	}
	for range 300 {
		signIn("mallory", here)
	}
	expectLog("the account of mallory", "user_name=mallory", 100)
	signIn("alice", here)
	expectLog("another account, same address", "user_name=alice", 1)
	signIn("mallory", there)
	expectLog("the same account, another address", "user_name=mallory", 1)
	for i := range 300 {
		signIn(fmt.Sprint("mallory", i), here)
	}
	log.Reset()
	signIn("bob", there)
	expectLog("an account after many others", "user_name=bob", 1)

	for i := range 300 {
		refuse(t, auth, fmt.Sprint("user", i), here)
	}
	expectLog("guesses from one address", "sign-in refused", 100)
	for i := range 300 { // a customer may have a /48
		refuse(t, auth, "alice", netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 7, byte(i >> 8), byte(i), 15: byte(i)}))
	}
	expectLog("guesses from one IPv6 network", "sign-in refused", 100)
	refuse(t, auth, "alice", netip.MustParseAddr("192.0.2.8"))
	refuse(t, auth, "alice", netip.MustParseAddr("::ffff:192.0.2.7"))
	expectLog("an IPv4 address, and the first one in another spelling", "sign-in refused", 1)

	// Many sources together share one limit.
	now = now.Add(time.Hour)
	for i := range 1500 {
		for range 3 {
			refuse(t, auth, "alice", netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		}
	}
	expectLog("guesses from many addresses", "sign-in refused", 1000)
	waited := 0
	for ; !strings.Contains(log.String(), "remote_addr=192.0.2.9"); waited++ {
		now = now.Add(time.Second)
		for i := range 1500 {
			refuse(t, auth, "alice", netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		}
		if refuse(t, auth, "alice", netip.MustParseAddr("192.0.2.9")); waited > 60 {
			t.Fatal("during the load, a quiet address is not logged for a minute")
		}
	}
	if n := strings.Count(log.String(), "sign-in refused"); n > 100*waited {
		t.Errorf("%d records in %d seconds, want at most 100 a second", n, waited)
	}
}

// A record of a revocation names the user and the client, for each of the
// methods. So does a record of a failed one, if the Service knows them.
func TestRevocationsAreLoggedWithUserAndClient(t *testing.T) {
	t.Parallel()
	for _, failing := range []string{"", "Find", "Revoke"} {
		for name, revoke := range map[string]func(*tokenauth.Service, tokenauth.IssuedToken) error{
			"Revoke": func(auth *tokenauth.Service, issued tokenauth.IssuedToken) error {
				return auth.Revoke(t.Context(), issued.AccessToken.Reveal())
			},
			"RevokeToken": func(auth *tokenauth.Service, issued tokenauth.IssuedToken) error {
				return auth.RevokeToken(t.Context(), issued.Token)
			},
		} {
			synctest.Test(t, func(t *testing.T) {
				storage := new(scripted)
				logger, printed := logInto()
				auth := newService(t, storage, &staff{}, &tokenauth.Options{Logger: logger, Cache: new(tokenauth.CacheOptions)})
				ctx, cancel := context.WithCancel(t.Context())
				defer synctest.Wait()
				defer cancel()
				go auth.Run(ctx)
				synctest.Wait()
				issued, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{ClientID: "web"})
				if err != nil {
					t.Fatal(err)
				}
				expect(t, auth, issued.AccessToken.Reveal(), "valid") // the token is cached now
				storage.before = func(_ context.Context, method string) error {
					if method == failing {
						return errors.New("host: down")
					}
					return nil
				}
				printed.Reset()
				if err := revoke(auth, issued); (err == nil) != (failing == "") {
					t.Errorf("%s: %v", name, err)
				}
				if !strings.Contains(printed.String(), "user_id=17 user_name=alice client_id=web token=") {
					t.Errorf("%s while %q fails: logged %s", name, failing, printed)
				}
			})
		}
	}
}

// A record names the device. That a user has too many devices, and that all tokens
// were revoked, is logged at level info.
func TestDevicesAreLogged(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	logger, printed := logInto()
	auth := newService(t, new(memory.Store), accounts{}, &tokenauth.Options{
		Logger: logger, Now: func() time.Time { return now }, Devices: &tokenauth.DeviceOptions{Max: 1},
	})
	for _, device := range []string{"", "phone", "Ann's laptop"} {
		if _, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{Device: device, DeviceName: "a name"}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	if err := auth.RevokeAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(printed.String()) {
		_, line, _ = strings.Cut(line, "level=")
		line, _, _ = strings.Cut(line, " token=")
		got = append(got, strings.TrimSpace(line))
	}
	const issued, revoked = `INFO msg="tokenauth: token issued" event=issued user_id=17 user_name=alice`, `INFO msg="tokenauth: tokens revoked" event=revoked reason=`
	want := []string{
		issued,
		revoked + `devices user_id=17 user_name=alice`,
		issued + ` device=phone`,
		revoked + `devices user_id=17 user_name=alice device=phone`,
		issued + ` device="Ann's laptop"`,
		revoked + `all`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("logged\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
