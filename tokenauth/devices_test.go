package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// anyoneIsAlice accepts every sign-in. It is safe for concurrent use.
type anyoneIsAlice struct{}

func (anyoneIsAlice) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	return alice(), nil
}

// A clientsByID is a ClientRegistry with the given clients, by ID.
type clientsByID map[string]tokenauth.Client

func (r clientsByID) FindClient(_ context.Context, id string) (tokenauth.Client, error) {
	c, ok := r[id]
	if !ok {
		return c, tokenauth.ErrNotFound
	}
	return c, nil
}

// signInOn signs alice in on a device.
func signInOn(t testing.TB, auth *tokenauth.Service, device, name string) tokenauth.IssuedToken {
	t.Helper()
	issued, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("x"), Device: device, DeviceName: name})
	if err != nil {
		t.Fatalf("sign-in on device %q: %v", device, err)
	}
	return issued
}

func isValid(t testing.TB, auth *tokenauth.Service, issued tokenauth.IssuedToken) bool {
	t.Helper()
	_, err := auth.Validate(t.Context(), issued.AccessToken.Reveal())
	if err != nil && !errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Fatal(err)
	}
	return err == nil
}

// devicesOf returns the devices of alice's valid tokens, the newest first.
func devicesOf(t testing.TB, auth *tokenauth.Service) (devices []string) {
	t.Helper()
	tokens, err := auth.Tokens(t.Context(), "17")
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range tokens {
		devices = append(devices, token.Device)
	}
	return devices
}

func TestEachDeviceHasOneToken(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Devices: &tokenauth.DeviceOptions{}})
	none, phone, laptop := signInOn(t, auth, "", ""), signInOn(t, auth, "phone", ""), signInOn(t, auth, "laptop", "")
	for name, issued := range map[string]tokenauth.IssuedToken{"none": none, "phone": phone, "laptop": laptop} {
		if !isValid(t, auth, issued) {
			t.Errorf("the token of device %s is not valid after sign-ins on other devices", name)
		}
	}
	newer := signInOn(t, auth, "phone", "")
	if _, err := auth.Validate(t.Context(), phone.AccessToken.Reveal()); !errors.Is(err, tokenauth.ErrReplacedToken) {
		t.Errorf("after a second sign-in on the phone, its first token has error %v, want ErrReplacedToken", err)
	}
	for name, issued := range map[string]tokenauth.IssuedToken{"none": none, "phone": newer, "laptop": laptop} {
		if !isValid(t, auth, issued) {
			t.Errorf("the token of device %s is not valid after a second sign-in on the phone", name)
		}
	}
}

// A device at one client is another one than the device with the same ID at another
// client, even if both IDs together are the same text.
func TestDevicesOfClientsAreApart(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Devices: &tokenauth.DeviceOptions{Max: 1000}})
	var all []tokenauth.IssuedToken
	slots := make(map[tokenauth.Slot]string)
	for _, client := range []string{"", "a", "ab", "abc", "a\x01", "b"} {
		for _, device := range []string{"", "a", "b", "c", "bc", "abc", "~"} {
			issued, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{ClientID: client, Device: device})
			if err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprintf("client %q, device %q", client, device)
			if other, taken := slots[issued.Token.Slot]; taken {
				t.Errorf("%s has the slot of %s", name, other)
			}
			slots[issued.Token.Slot] = name
			all = append(all, issued)
		}
	}
	for _, issued := range all {
		if !isValid(t, auth, issued) {
			t.Errorf("%s: its token is not valid", slots[issued.Token.Slot])
		}
		if issued.Token.Device == "" && issued.Token.Slot != tokenauth.SlotOf("17", issued.Token.ClientID) {
			t.Errorf("%s: the slot is not that of SlotOf", slots[issued.Token.Slot])
		}
	}
}

// Without the option, nothing names a device, and tokens are stored as before.
func TestDevicesAreOffByDefault(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Now: func() time.Time { return time.Unix(1_700_000_000, 999_000_000) }})
	_, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("x"), Device: "phone"})
	if !errors.Is(err, tokenauth.ErrInvalidPrincipal) || !strings.Contains(err.Error(), "Options.Devices") {
		t.Errorf("a sign-in on a device has error %v, want one that names Options.Devices", err)
	}
	if _, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{DeviceName: "phone"}); !errors.Is(err, tokenauth.ErrInvalidPrincipal) {
		t.Errorf("Issue with a device's name returns %v, want ErrInvalidPrincipal", err)
	}
	issued := signInOn(t, auth, "", "")
	encoded, _ := issued.Token.MarshalBinary()
	if issued.Token.IssuedAt.Nanosecond() != 0 || issued.Token.Lifetime != 0 || encoded[0] != 1 {
		t.Errorf("stored %+v with encoding %d, want whole seconds, no lifetime and encoding 1", issued.Token, encoded[0])
	}
}

func TestInvalidDevicesAreRefused(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Devices: &tokenauth.DeviceOptions{}})
	for name, o := range map[string]tokenauth.IssueOptions{
		"65 bytes":                {Device: strings.Repeat("d", 65)},
		"a line feed":             {Device: "a\nb"},
		"a letter with an accent": {Device: "é"},
		"DEL":                     {Device: "\x7f"},
		"name of 101 bytes":       {DeviceName: strings.Repeat("n", 101)},
		"name with a line feed":   {DeviceName: "a\nb"},
		"name with a C1 control":  {DeviceName: "a\u0085b"},
		"name that is not UTF-8":  {DeviceName: "\xff"},
		"a lifetime of a second":  {Lifetime: time.Second},
		"a lifetime of 366 days":  {Lifetime: 366 * 24 * time.Hour},
		"a negative lifetime":     {Lifetime: -time.Hour},
		"half seconds":            {Lifetime: time.Hour + time.Second/2},
	} {
		if _, err := auth.Issue(t.Context(), alice(), &o); !errors.Is(err, tokenauth.ErrInvalidPrincipal) {
			t.Errorf("%s: Issue returned %v, want ErrInvalidPrincipal", name, err)
		}
		// The client chooses the device, and the host's code the lifetime.
		status := http.StatusBadRequest
		if o.Lifetime != 0 {
			status = http.StatusInternalServerError
		}
		_, err := auth.SignIn(t.Context(), tokenauth.Credentials{
			UserName: "alice", Password: tokenauth.NewSecret("x"), Device: o.Device, DeviceName: o.DeviceName, Lifetime: o.Lifetime,
		})
		if e := tokenauth.ErrorResponseOf(err); e == nil || e.Status != status {
			t.Errorf("%s: SignIn returned %v with response %+v, want one with status %d", name, err, e, status)
		}
	}
	if _, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{
		Device: strings.Repeat("~", 64), DeviceName: strings.Repeat("é", 50), Lifetime: 365 * 24 * time.Hour,
	}); err != nil {
		t.Errorf("the longest values: %v", err)
	}
}

func TestDeviceOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]*tokenauth.Options{
		"Max is -1":                             {Devices: &tokenauth.DeviceOptions{Max: -1}},
		"Max is 1001":                           {Devices: &tokenauth.DeviceOptions{Max: 1001}},
		"Parameter is \"a b\"":                  {Devices: &tokenauth.DeviceOptions{Parameter: "a b"}},
		"already have a parameter \"username\"": {Devices: &tokenauth.DeviceOptions{Parameter: "UserName"}},
		"IdleTimeout is 1h59m0s":                {IdleTimeout: 119 * time.Minute},
		"MaxLifetime is 1h0m0s":                 {Lifetime: 2 * time.Hour, MaxLifetime: time.Hour},
		"MaxLifetime is 336h0m0.5s":             {MaxLifetime: 336*time.Hour + time.Second/2},
	} {
		if _, err := tokenauth.New(new(memory.Store), &staff{}, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New returned %v, want an error with %q", err, want)
		}
	}
	bare := struct{ tokenauth.Storage }{new(memory.Store)}
	for want, o := range map[string]*tokenauth.Options{
		"Options.Devices needs a storage that is a Lister":          {Devices: &tokenauth.DeviceOptions{}},
		"Options.IdleTimeout needs a storage that is a UseRecorder": {IdleTimeout: 3 * time.Hour},
		"Options.MaxLifetime needs a storage that is a UseRecorder": {MaxLifetime: 30 * 24 * time.Hour},
	} {
		o.Logger = slog.New(slog.DiscardHandler)
		if _, err := tokenauth.New(bare, &staff{}, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New returned %v, want an error with %q", err, want)
		}
	}
	o := &tokenauth.Options{Devices: &tokenauth.DeviceOptions{Parameter: "Device"}}
	auth := newService(t, new(memory.Store), &staff{}, o)
	auth.Options().Devices.Max = 3
	if got := *auth.Options().Devices; got != (tokenauth.DeviceOptions{Parameter: "device", Max: 10}) {
		t.Errorf("the options in effect are %+v, want the parameter in lower case and the default Max", got)
	}
	if o.Devices.Max != 0 {
		t.Error("New changed the host's options")
	}
}

// A sign-in ends every token beyond the bound, not one only.
func TestSignInEndsTheDevicesBeyondTheBound(t *testing.T) {
	t.Parallel()
	storage, clock := new(memory.Store), new(tokenauthtest.Clock)
	before := newService(t, storage, &staff{}, &tokenauth.Options{Now: clock.Now, Devices: &tokenauth.DeviceOptions{Max: 1000}})
	var printed strings.Builder
	var ended []tokenauth.Event
	after := newService(t, storage, &staff{}, &tokenauth.Options{
		Now: clock.Now, Devices: &tokenauth.DeviceOptions{Max: 3},
		Logger: slog.New(slog.NewTextHandler(&printed, nil)),
		Observers: []func(context.Context, tokenauth.Event){func(_ context.Context, e tokenauth.Event) {
			if e.Kind == event.Revoked {
				ended = append(ended, e)
			}
		}},
	})
	for i := range 20 {
		signInOn(t, before, fmt.Sprint("device", i), "")
		clock.Advance(time.Millisecond)
	}
	if _, err := before.Issue(t.Context(), alice(), &tokenauth.IssueOptions{ClientID: "other", Device: "device0"}); err != nil {
		t.Fatal(err)
	}
	if _, err := before.Issue(t.Context(), bob(), &tokenauth.IssueOptions{Device: "device0"}); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Millisecond)
	signInOn(t, after, "", "")
	tokens, err := after.Tokens(t.Context(), "17")
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, token := range tokens {
		left = append(left, token.ClientID+"/"+token.Device)
	}
	if want := []string{"/", "other/device0", "/device19", "/device18"}; !slices.Equal(left, want) {
		t.Errorf("valid tokens %q, want %q", left, want)
	}
	if tokens, _ := after.Tokens(t.Context(), "18"); len(tokens) != 1 {
		t.Errorf("another user has %d tokens, want 1", len(tokens))
	}
	if len(ended) != 18 || ended[0].Reason != event.ReasonDevices || ended[0].UserID != "17" || ended[0].Device != "device17" {
		t.Errorf("reported %d ended tokens, the first %+v; want 18 with the reason and the device", len(ended), ended[0])
	}
	if n := strings.Count(printed.String(), "reason=devices"); n != 18 {
		t.Errorf("logged %d ended devices, want 18:\n%s", n, printed.String())
	}
}

// Concurrent sign-ins leave at most Max tokens, and the newest is valid.
func TestBoundHoldsAfterConcurrentSignIns(t *testing.T) {
	t.Parallel()
	for _, most := range []int{1, 2, 10} {
		storage := new(memory.Store)
		replicas := make([]*tokenauth.Service, 3)
		for i := range replicas {
			replicas[i] = newService(t, storage, anyoneIsAlice{}, &tokenauth.Options{Devices: &tokenauth.DeviceOptions{Max: most}, Throttle: tokenauth.ThrottleOptions{InsecureOff: true}})
		}
		for round := range 20 {
			var wg sync.WaitGroup
			var mu sync.Mutex
			var issued []tokenauth.IssuedToken
			for i := range 30 {
				wg.Go(func() {
					got := signInOn(t, replicas[i%3], fmt.Sprint("device", round, "-", i), "")
					mu.Lock()
					defer mu.Unlock()
					issued = append(issued, got)
				})
			}
			wg.Wait()
			live := devicesOf(t, replicas[0])
			if len(live) != most {
				t.Fatalf("round %d: %d tokens are valid, want %d", round, len(live), most)
			}
			newest := slices.MaxFunc(issued, func(a, b tokenauth.IssuedToken) int {
				return a.Token.IssuedAt.Compare(b.Token.IssuedAt)
			})
			ties := slices.ContainsFunc(issued, func(i tokenauth.IssuedToken) bool {
				return i.Token.IssuedAt.Equal(newest.Token.IssuedAt) && slices.Contains(live, i.Token.Device)
			})
			if !ties {
				t.Fatalf("round %d: none of the tokens with the latest sign-in time is valid", round)
			}
		}
	}
}

// One sign-in after another in the same millisecond: each gets a valid token.
func TestBoundKeepsSignInsOfTheSameMillisecond(t *testing.T) {
	t.Parallel()
	clock := new(tokenauthtest.Clock)
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Now: clock.Now, Devices: &tokenauth.DeviceOptions{Max: 2}})
	for i := range 20 {
		if !isValid(t, auth, signInOn(t, auth, fmt.Sprint("device", i), "")) {
			t.Errorf("the token of sign-in %d is not valid", i)
		}
	}
}

// A user can sign in at a replica whose clock is behind.
func TestBoundKeepsASignInOfAReplicaWithASlowClock(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{time.Millisecond, time.Minute, 400 * 24 * time.Hour} {
		storage, clock := new(memory.Store), new(tokenauthtest.Clock)
		devices := &tokenauth.DeviceOptions{Max: 2}
		fast := newService(t, storage, &staff{}, &tokenauth.Options{Devices: devices, Now: func() time.Time { return clock.Now().Add(ahead) }})
		slow := newService(t, storage, &staff{}, &tokenauth.Options{Devices: devices, Now: clock.Now})
		for i := range 4 {
			signInOn(t, fast, fmt.Sprint("fast", i), "")
			mine := signInOn(t, slow, fmt.Sprint("slow", i), "")
			if !isValid(t, slow, mine) {
				t.Errorf("%v ahead: the token of the sign-in at the slow replica is not valid", ahead)
			}
			if life := mine.Token.ExpiresAt.Sub(clock.Now()); life > 14*24*time.Hour {
				t.Errorf("%v ahead: the token expires in %v, want at most 14 days", ahead, life)
			}
			if n := len(devicesOf(t, slow)); n > 2 {
				t.Errorf("%v ahead: %d tokens are valid, want at most 2", ahead, n)
			}
		}
	}
}

// If the bound cannot be enforced, the sign-in fails, and its token is removed.
func TestSignInFailsIfTheBoundCannotBeEnforced(t *testing.T) {
	t.Parallel()
	errDown := errors.New("connection refused")
	for _, method := range []string{"List", "Revoke"} {
		storage := &listingScripted{}
		auth := newService(t, storage, &staff{}, &tokenauth.Options{Devices: &tokenauth.DeviceOptions{Max: 1}})
		old := signInOn(t, auth, "old", "")
		failed := false
		storage.before = func(_ context.Context, called string) error {
			if called == method && !failed {
				failed = true
				return errDown
			}
			return nil
		}
		_, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("x"), Device: "new"})
		if !errors.Is(err, tokenauth.ErrUnavailable) || !errors.Is(err, errDown) {
			t.Errorf("%s failed: the sign-in returned %v, want ErrUnavailable", method, err)
		}
		if got := devicesOf(t, auth); !slices.Equal(got, []string{"old"}) {
			t.Errorf("%s failed: the valid tokens are of devices %q, want the old one", method, got)
		}
		if !isValid(t, auth, old) {
			t.Errorf("%s failed: the old token is not valid", method)
		}
	}
}

// A listingScripted is a scripted storage whose List calls before.
type listingScripted struct{ scripted }

func (s *listingScripted) List(ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
	if err := s.step(ctx, "List"); err != nil {
		return nil, err
	}
	return s.Store.List(ctx, u)
}

func TestRevokeDeviceEndsOneSignIn(t *testing.T) {
	t.Parallel()
	clock := new(tokenauthtest.Clock)
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Now: clock.Now, Devices: &tokenauth.DeviceOptions{}})
	none, phone, laptop := signInOn(t, auth, "", ""), signInOn(t, auth, "phone", ""), signInOn(t, auth, "laptop", "")
	if err := auth.RevokeDevice(t.Context(), "18", phone.Token.SlotID()); !errors.Is(err, tokenauth.ErrNotFound) {
		t.Errorf("another user's slot: error %v, want ErrNotFound", err)
	}
	bobs, err := auth.Issue(t.Context(), bob(), nil) // without a device, as one of alice's tokens
	if err != nil {
		t.Fatal(err)
	}
	if err := auth.RevokeDevice(t.Context(), "17", bobs.Token.SlotID()); !errors.Is(err, tokenauth.ErrNotFound) || !isValid(t, auth, none) || !isValid(t, auth, bobs) {
		t.Errorf("the same slot of another user: error %v, want ErrNotFound, and both tokens valid", err)
	}
	for _, id := range []string{"", "x", "!", phone.Token.SlotID() + "A", phone.Token.SlotID()[1:], " " + phone.Token.SlotID()} {
		if err := auth.RevokeDevice(t.Context(), "17", id); !errors.Is(err, tokenauth.ErrNotFound) {
			t.Errorf("slot ID %q: error %v, want ErrNotFound", id, err)
		}
	}
	newer := signInOn(t, auth, "phone", "") // the ID of the slot stays the same
	for _, issued := range []tokenauth.IssuedToken{phone, none} {
		if err := auth.RevokeDevice(t.Context(), "17", issued.Token.SlotID()); err != nil {
			t.Error(err)
		}
		if err := auth.RevokeDevice(t.Context(), "17", issued.Token.SlotID()); !errors.Is(err, tokenauth.ErrNotFound) {
			t.Errorf("the second time: error %v, want ErrNotFound", err)
		}
	}
	if isValid(t, auth, newer) || isValid(t, auth, none) || !isValid(t, auth, laptop) {
		t.Error("want only the laptop's token valid")
	}
	clock.Advance(15 * 24 * time.Hour)
	if err := auth.RevokeDevice(t.Context(), "17", laptop.Token.SlotID()); !errors.Is(err, tokenauth.ErrNotFound) {
		t.Errorf("an expired token: error %v, want ErrNotFound", err)
	}
}

func TestRevokeUserKeepsTheGivenTokens(t *testing.T) {
	t.Parallel()
	storage := new(memory.Store)
	auth := newService(t, storage, &staff{}, &tokenauth.Options{Devices: &tokenauth.DeviceOptions{}})
	phone, laptop, web := signInOn(t, auth, "phone", ""), signInOn(t, auth, "laptop", ""), signInOn(t, auth, "", "")
	if err := auth.RevokeUser(t.Context(), "18", phone.Token); !errors.Is(err, tokenauth.ErrInvalidPrincipal) {
		t.Errorf("a token of another user: error %v, want ErrInvalidPrincipal", err)
	}
	if err := auth.RevokeUser(t.Context(), "17", tokenauth.Token{Slot: phone.Token.Slot}); !errors.Is(err, tokenauth.ErrInvalidPrincipal) {
		t.Errorf("a token without a digest: error %v, want ErrInvalidPrincipal", err)
	}
	if err := auth.RevokeUser(t.Context(), "17", phone.Token); err != nil {
		t.Fatal(err)
	}
	if !isValid(t, auth, phone) || isValid(t, auth, laptop) || isValid(t, auth, web) {
		t.Error("want only the phone's token valid")
	}
	newer := signInOn(t, auth, "phone", "")
	if err := auth.RevokeUser(t.Context(), "17", phone.Token); err != nil { // that token was replaced
		t.Fatal(err)
	}
	if isValid(t, auth, newer) {
		t.Error("a token that replaced the one to keep is valid, want it ended")
	}
	signInOn(t, auth, "laptop", "")
	if err := auth.RevokeUser(t.Context(), "17"); err != nil {
		t.Fatal(err)
	}
	if got := devicesOf(t, auth); len(got) > 0 {
		t.Errorf("devices %q are signed in after RevokeUser, want none", got)
	}
}

func TestRevokeClientEndsAllItsDevices(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Devices: &tokenauth.DeviceOptions{}})
	issue := func(p tokenauth.Principal, client, device string) tokenauth.IssuedToken {
		issued, err := auth.Issue(t.Context(), p, &tokenauth.IssueOptions{ClientID: client, Device: device})
		if err != nil {
			t.Fatal(err)
		}
		return issued
	}
	end := []tokenauth.IssuedToken{issue(alice(), "web", ""), issue(alice(), "web", "a"), issue(alice(), "web", "b"), issue(bob(), "web", "a")}
	keep := []tokenauth.IssuedToken{issue(alice(), "", ""), issue(alice(), "", "web"), issue(alice(), "we", "b"), issue(bob(), "webb", "a")}
	if err := auth.RevokeClient(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	for _, issued := range end {
		if isValid(t, auth, issued) {
			t.Errorf("device %q of %s is still signed in", issued.Token.Device, issued.Token.Principal.UserName)
		}
	}
	for _, issued := range keep {
		if !isValid(t, auth, issued) {
			t.Errorf("client %q, device %q: signed out", issued.Token.ClientID, issued.Token.Device)
		}
	}
	if err := auth.RevokeAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, issued := range keep {
		if isValid(t, auth, issued) {
			t.Errorf("client %q, device %q: still signed in after RevokeAll", issued.Token.ClientID, issued.Token.Device)
		}
	}
}

// A host that issues while another request disables the user leaves no token.
func TestIssueLooksAgain(t *testing.T) {
	t.Parallel()
	storage, users := new(scripted), &staff{}
	auth := newService(t, storage, users, nil)
	disabled := false
	users.look = func(context.Context, tokenauth.Principal) error {
		if disabled {
			return tokenauth.ErrRejected
		}
		return nil
	}
	if _, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{Recheck: true}); err != nil || !storage.holds() {
		t.Fatalf("Issue returned %v and stored a token: %t", err, storage.holds())
	}
	storage.stored = func() { disabled = true }
	if _, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{Recheck: true}); !errors.Is(err, tokenauth.ErrRejected) {
		t.Errorf("the user was disabled meanwhile: error %v, want ErrRejected", err)
	}
	if storage.holds() {
		t.Error("the token of the rejected call is still stored")
	}
	if _, err := auth.Issue(t.Context(), alice(), nil); err != nil {
		t.Errorf("without Recheck: %v", err)
	}
	bare := struct{ tokenauth.Authenticator }{users}
	auth = newService(t, storage, bare, nil)
	if _, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{Recheck: true}); !errors.Is(err, tokenauth.ErrInvalidPrincipal) {
		t.Errorf("the Authenticator is not a Rechecker: error %v, want ErrInvalidPrincipal", err)
	}
}

func TestLifetimesOfSignInsAndClients(t *testing.T) {
	t.Parallel()
	clients := clientsByID{"kiosk": {ID: "kiosk", Lifetime: 15 * time.Minute}, "web": {ID: "web"}, "wrong": {ID: "wrong", Lifetime: time.Second}}
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Clients: clients, MaxLifetime: 60 * 24 * time.Hour})
	signIn := func(client string, lifetime time.Duration) (time.Duration, error) {
		issued, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("x"), ClientID: client, Lifetime: lifetime})
		return issued.Token.ExpiresAt.Sub(issued.Token.IssuedAt), err
	}
	for _, test := range []struct {
		client         string
		lifetime, want time.Duration
	}{
		{"web", 0, 14 * 24 * time.Hour},
		{"web", 60 * 24 * time.Hour, 60 * 24 * time.Hour},
		{"kiosk", 0, 15 * time.Minute},
		{"kiosk", time.Hour, time.Hour},
	} {
		if got, err := signIn(test.client, test.lifetime); err != nil || got != test.want {
			t.Errorf("client %s, lifetime %v: lives %v, error %v, want %v", test.client, test.lifetime, got, err, test.want)
		}
	}
	for client, lifetime := range map[string]time.Duration{"web": 61 * 24 * time.Hour, "wrong": 0} {
		if _, err := signIn(client, lifetime); !errors.Is(err, tokenauth.ErrInvalidPrincipal) {
			t.Errorf("client %s, lifetime %v: error %v, want ErrInvalidPrincipal", client, lifetime, err)
		}
	}
}

// A client cannot find out by revocation whether a user is signed in at another
// client, and can revoke its own tokens when devices are turned off again.
func TestRevocationOfOtherSlots(t *testing.T) {
	t.Parallel()
	storage, clients := new(memory.Store), clientsByID{"a": {ID: "a"}, "b": {ID: "b"}}
	on := newService(t, storage, &staff{}, &tokenauth.Options{Clients: clients, Devices: &tokenauth.DeviceOptions{}})
	off := newService(t, storage, &staff{}, &tokenauth.Options{Clients: clients})
	elsewhere := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Devices: &tokenauth.DeviceOptions{}})
	issue := func(auth *tokenauth.Service, p tokenauth.Principal, device string) string {
		issued, err := auth.Issue(t.Context(), p, &tokenauth.IssueOptions{ClientID: "a", Device: device})
		if err != nil {
			t.Fatal(err)
		}
		return issued.AccessToken.Reveal()
	}
	plain, phone := issue(on, alice(), ""), issue(on, alice(), "phone")
	for _, test := range []struct {
		name        string
		auth        *tokenauth.Service
		client      string
		accessToken string
		want        int
	}{
		{"forged for a slot with a token", on, "b", issue(elsewhere, alice(), ""), http.StatusOK},
		{"forged for an empty slot", on, "b", issue(elsewhere, bob(), ""), http.StatusOK},
		{"forged for a device with a token", on, "b", issue(elsewhere, alice(), "phone"), http.StatusOK},
		{"forged for a slot with a token, without devices", off, "b", issue(elsewhere, alice(), ""), http.StatusBadRequest},
		{"forged for an empty slot, without devices", off, "b", issue(elsewhere, bob(), ""), http.StatusBadRequest},
		{"another client's", on, "b", plain, http.StatusBadRequest},
		{"another client's device", on, "b", phone, http.StatusBadRequest},
		{"another client's device, without devices", off, "b", phone, http.StatusBadRequest},
	} {
		if w := revokeAs(t, test.auth, test.client, test.accessToken); w.Code != test.want {
			t.Errorf("%s: got %d %s, want %d", test.name, w.Code, w.Body, test.want)
		}
	}
	expect(t, on, plain, "valid")
	expect(t, on, phone, "valid")
	if w := revokeAs(t, off, "a", phone); w.Code != http.StatusOK {
		t.Errorf("the client's own device, without devices: got %d %s, want 200", w.Code, w.Body)
	}
	expect(t, off, phone, "invalid")
}

// revokeAs sends a request of a public client to the revocation endpoint.
func revokeAs(t testing.TB, auth *tokenauth.Service, client, accessToken string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("POST", "/revoke", strings.NewReader("client_id="+client+"&token="+accessToken))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	endpoint(t, auth, "/revoke").ServeHTTP(w, r)
	return w
}

// A sign-in removes no expired tokens. They may be valid: the clock of this
// replica may be wrong. Run compares the clocks before it purges.
func TestSignInKeepsExpiredTokens(t *testing.T) {
	t.Parallel()
	storage, clock := new(memory.Store), new(tokenauthtest.Clock)
	devices := &tokenauth.DeviceOptions{Max: 1}
	right := newService(t, storage, &staff{}, &tokenauth.Options{Devices: devices, Now: clock.Now})
	wrong := newService(t, storage, &staff{}, &tokenauth.Options{Devices: devices, Now: func() time.Time { return clock.Now().Add(16 * 24 * time.Hour) }})
	for _, o := range []tokenauth.IssueOptions{{ClientID: "other"}, {Device: "phone"}} {
		issued, err := right.Issue(t.Context(), alice(), &o)
		if err != nil {
			t.Fatal(err)
		}
		signInOn(t, wrong, "laptop", "")
		if !isValid(t, right, issued) {
			t.Errorf("%+v: a sign-in at a replica with a wrong clock ended the token", o)
		}
	}
}

// A panic while the bound is enforced is reported as one of the storage.
func TestPanicOfTheStorageInTheBound(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"List", "Revoke"} {
		logger, printed := logInto()
		storage := new(listingScripted)
		auth := newService(t, storage, &staff{}, &tokenauth.Options{Logger: logger, Devices: &tokenauth.DeviceOptions{Max: 1}})
		old := signInOn(t, auth, "old", "")
		storage.before = func(_ context.Context, called string) error {
			if called == method {
				panic("a bug of the storage's")
			}
			return nil
		}
		w := post(auth, "", passwordGrant)
		if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "access_token") || !strings.Contains(printed.String(), "panic in the storage") {
			t.Errorf("%s panicked: got %d %s and logged %s", method, w.Code, w.Body, printed)
		}
		if method == "List" {
			if value := recoverValue(func() { auth.Tokens(t.Context(), "17") }); value != "a bug of the storage's" {
				t.Errorf("Tokens panicked with %v, want the value of the storage's panic", value)
			}
		}
		storage.before = nil
		if !isValid(t, auth, old) {
			t.Errorf("%s panicked: the old token is not valid", method)
		}
	}
}

// recoverValue returns the value with which do panics, or nil.
func recoverValue(do func()) (value any) {
	defer func() { value = recover() }()
	do()
	return nil
}

// A client whose Lifetime is not valid is a mistake of the host's.
func TestInvalidLifetimeOfAClientIsAServerError(t *testing.T) {
	t.Parallel()
	logger, printed := logInto()
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Logger: logger, Clients: clientsByID{"wrong": {ID: "wrong", Lifetime: time.Second}}})
	w := post(auth, "", passwordGrant+"&client_id=wrong")
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), `"server_error"`) || !strings.Contains(printed.String(), "the lifetime is 1s") {
		t.Errorf("got %d %s and logged %s, want 500 and a record with the lifetime", w.Code, w.Body, printed)
	}
}

// A sign-in makes one call of the storage, with devices a second one, and a further
// one for each token that it ends.
func TestCallsOfTheStorageInASignIn(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]*tokenauth.Options{
		"Replace":             {},
		"Replace List":        {Devices: &tokenauth.DeviceOptions{}},
		"Replace List Revoke": {Devices: &tokenauth.DeviceOptions{Max: 1}},
	} {
		storage, clock := new(listingScripted), new(tokenauthtest.Clock)
		o.Now = clock.Now
		auth := newService(t, storage, &staff{}, o)
		if _, err := auth.Issue(t.Context(), alice(), nil); err != nil {
			t.Fatal(err)
		}
		clock.Advance(time.Second)
		var calls []string
		storage.before = func(_ context.Context, method string) error {
			calls = append(calls, method)
			return nil
		}
		device := "phone"
		if o.Devices == nil {
			device = ""
		}
		signInOn(t, auth, device, "")
		if got := strings.Join(calls, " "); got != want {
			t.Errorf("a sign-in called %s, want %s", got, want)
		}
	}
}
