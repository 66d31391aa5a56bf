package abuse_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// withDevices lets requests name a device.
func withDevices(s *setup) { s.Devices = &tokenauth.DeviceOptions{Parameter: "device"} }

const (
	deviceMalformed     = "The device must be 1 to 64 bytes of printable ASCII."
	deviceNameMalformed = "The name of the device must be at most 100 bytes without control characters."
)

// onDevice returns the body of a token request that names a device.
func onDevice(userName, device string) string {
	return grantFor(userName, otherPassword) + "&device=" + url.QueryEscape(device)
}

// Chapter V of the catalogue: devices.
var devices = []situation{
	{
		id: "V01", what: "a script that signs in on a thousand random devices",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.host(t, new(memory.Store), directory{}, tokenauth.Options{
				Clients: registry{"app": {ID: "app"}, "other": {ID: "other"}}, Devices: &tokenauth.DeviceOptions{Parameter: "device"},
			})
			others := []string{h.signIn(t, onDevice("alice", "phone")+"&client_id=other"), h.signIn(t, onDevice("bob", "phone")+"&client_id=app")}
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					for j := range 125 {
						h.signIn(t, onDevice("alice", fmt.Sprint("random ", i, j))+"&client_id=app")
					}
				})
			}
			wg.Wait()
			count := func() (n int) {
				tokens, err := h.auth.Tokens(t.Context(), "id of alice")
				if err != nil {
					t.Fatal(err)
				}
				for _, token := range tokens {
					if token.ClientID == "app" {
						n++
					}
				}
				return n
			}
			if n := count(); n != 10 {
				t.Errorf("the user has %d tokens at the client, want 10", n)
			}
			h.welcomes(t, h.signIn(t, onDevice("alice", "one more")+"&client_id=app"), "a sign-in after the script")
			if n := count(); n != 10 {
				t.Errorf("after another sign-in, the user has %d tokens at the client, want 10", n)
			}
			for _, accessToken := range others {
				h.welcomes(t, accessToken, "another client or user, after the script")
			}
		}),
	},
	{
		id: "V02", what: "a sign-in that names another user's device",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.host(t, new(memory.Store), directory{}, tokenauth.Options{Devices: &tokenauth.DeviceOptions{Parameter: "device", Max: 1}})
			alice := h.signIn(t, onDevice("alice", "phone")+"&device_name=Ann%27s+phone")
			mallory := h.signIn(t, onDevice("mallory", "phone")+"&device_name=stolen")
			h.welcomes(t, alice, "after another user's sign-in on a device with the same ID")
			h.welcomes(t, mallory, "the other user")
			if a := h.me(t, mallory); a.body != "mallory" {
				t.Errorf("the token is that of %s, want mallory", a.body)
			}
			tokens, err := h.auth.Tokens(t.Context(), "id of alice")
			if err != nil || len(tokens) != 1 || tokens[0].DeviceName != "Ann's phone" {
				t.Errorf("the tokens are %+v, %v, want one of Ann's phone", tokens, err)
			}
		}),
	},
	{
		id: "V03", what: "a device ID as log injection",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.host(t, new(memory.Store), directory{}, tokenauth.Options{Devices: &tokenauth.DeviceOptions{Parameter: "device"}})
			for _, id := range []string{"a\r\nlevel=ERROR msg=forged", "\x1b[31mred", "\u202eforged"} {
				h.posts(t, badRequest(deviceMalformed), onDevice("alice", id))
			}
			const id = `phone" level=ERROR msg="forged`
			h.signIn(t, onDevice("alice", id)+"&device_name="+url.QueryEscape(`name" msg="forged`))
			log := h.log.String()
			if want := " device=" + strconv.Quote(id) + " "; strings.Count(log, want) != 1 {
				t.Errorf("the log lacks %s: %s", want, log)
			}
			if strings.Contains(strings.ReplaceAll(log, strconv.Quote(id), ""), "forged") {
				t.Errorf("the log has a part of a refused device, or the name of the device: %s", log)
			}
		}),
	},
	{
		id: "V04", what: "a device name with HTML",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.host(t, new(memory.Store), directory{}, tokenauth.Options{Devices: &tokenauth.DeviceOptions{Parameter: "device"}})
			const name = `<script>alert("x")</script>`
			answer := h.posts(t, issued, onDevice("alice", "phone")+"&device_name="+url.QueryEscape(name))
			if strings.Contains(answer.body, "script") {
				t.Errorf("the response has the name of the device: %s", answer.body)
			}
			tokens, err := h.auth.Tokens(t.Context(), "id of alice")
			if err != nil || len(tokens) != 1 || tokens[0].DeviceName != name {
				t.Fatalf("the tokens are %+v, %v, want one with the name as sent", tokens, err)
			}
			var page bytes.Buffer
			if err := template.Must(template.New("").Parse(`{{range .}}<li>{{.DeviceName}}{{end}}`)).Execute(&page, tokens); err != nil {
				t.Fatal(err)
			}
			if want := `<li>&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;`; page.String() != want {
				t.Errorf("the page is %s, want %s", &page, want)
			}
		}),
	},
	{
		id: "V05", what: "RevokeDevice with another user's, a guessed or a malformed slot ID",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.host(t, new(memory.Store), directory{}, tokenauth.Options{Devices: &tokenauth.DeviceOptions{Parameter: "device"}})
			alice := h.signIn(t, onDevice("alice", "phone"))
			plain := h.signIn(t, grantFor("alice", otherPassword))
			mallory := h.signIn(t, onDevice("mallory", "laptop"))
			tokens, err := h.auth.Tokens(t.Context(), "id of alice")
			if err != nil || len(tokens) != 2 {
				t.Fatalf("Tokens: %+v, %v, want 2", tokens, err)
			}
			try := func(userID, slotID string) {
				t.Helper()
				if err := h.auth.RevokeDevice(t.Context(), userID, slotID); !errors.Is(err, tokenauth.ErrNotFound) {
					t.Errorf("RevokeDevice(%q, %q): error %v, want ErrNotFound", userID, slotID, err)
				}
			}
			for _, token := range tokens {
				id := token.SlotID()
				try("id of mallory", id)
				try("", id)
				last := strings.Map(func(r rune) rune { // the same bytes with other unused bits
					return rune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[strings.IndexRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", r)|1])
				}, id[21:])
				for _, malformed := range []string{id[:20], id + "AA", id + "==", id[:21] + last, " " + id, id + "\n", strings.ToLower(id) + "x", token.Digest.String(), token.Device} {
					try("id of alice", malformed)
				}
			}
			for i := range 1000 {
				sum := sha256.Sum256([]byte(strconv.Itoa(i)))
				try("id of alice", base64.RawURLEncoding.EncodeToString(sum[:16]))
			}
			h.welcomes(t, alice, "after the attempts")
			h.welcomes(t, plain, "after the attempts")
			for _, token := range tokens {
				if err := h.auth.RevokeDevice(t.Context(), "id of alice", token.SlotID()); err != nil {
					t.Errorf("RevokeDevice of the user's own slot: %v", err)
				}
			}
			h.refuses(t, invalidToken, alice)
			h.refuses(t, invalidToken, plain)
			h.welcomes(t, mallory, "another user")
		}),
	},
	{
		id: "V06", what: "RevokeDevice for the reserved key under which services keep their names",
		alone: func(t *testing.T) {
			s := new(memory.Store)
			auth, err := tokenauth.New(s, directory{}, &tokenauth.Options{Name: "reports", Devices: new(tokenauth.DeviceOptions), Logger: new(journal).logger()})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var run sync.WaitGroup
			run.Go(func() { auth.Run(ctx) })
			defer run.Wait()
			defer cancel()
			reserved := tokenauth.UserKey(bytes.Repeat([]byte{0xFF}, 16))
			names := func() []tokenauth.Token {
				names, err := s.List(t.Context(), reserved)
				if err != nil {
					t.Fatal(err)
				}
				return names
			}
			eventually(t, "the service stored its name", func() bool { return len(names()) == 1 })
			id := names()[0].SlotID()
			for _, userID := range []string{"", "alice", string(reserved[:]), strings.Repeat("ff", 16), "reports"} {
				if err := auth.RevokeDevice(t.Context(), userID, id); !errors.Is(err, tokenauth.ErrNotFound) {
					t.Errorf("RevokeDevice(%q): error %v, want ErrNotFound", userID, err)
				}
			}
			if n := len(names()); n != 1 {
				t.Errorf("the storage has %d names, want 1", n)
			}
		},
	},
	{
		id: "V07", what: "replicas with different clocks, or sign-ins in one millisecond: the newest sign-in works",
		alone: onEngines(func(t *testing.T, on engine) {
			for _, test := range []struct{ ahead, step time.Duration }{{5 * time.Second, 300 * time.Millisecond}, {time.Millisecond, 0}, {0, 0}} {
				for max := 1; max <= 3; max++ {
					var now atomic.Int64 // nanoseconds since start
					at := func(ahead time.Duration) func() time.Time {
						return func() time.Time { return start.Add(ahead + time.Duration(now.Load())) }
					}
					s := new(memory.Store)
					replica := func(ahead time.Duration) *abuseHost {
						return on.host(t, s, directory{}, tokenauth.Options{Devices: &tokenauth.DeviceOptions{Parameter: "device", Max: max}, Now: at(ahead)})
					}
					slow, fast := replica(0), replica(test.ahead)
					for i := range 40 {
						h := slow
						if i%3 == 0 {
							h = fast
						}
						accessToken := h.signIn(t, onDevice("alice", fmt.Sprint("device ", i)))
						when := fmt.Sprintf("sign-in %d with at most %d devices and clocks %+v", i, max, test)
						slow.welcomes(t, accessToken, when+", at the slow replica")
						fast.welcomes(t, accessToken, when+", at the fast replica")
						tokens, err := slow.auth.Tokens(t.Context(), "id of alice")
						if err != nil || len(tokens) > max {
							t.Fatalf("after %s there are %d tokens, %v, want at most %d", when, len(tokens), err, max)
						}
						now.Add(int64(test.step))
					}
				}
			}
		}),
	},
	{
		id: "V08", what: "a malformed device costs no hash, counts no failure and ends no token",
		run: func(t *testing.T, h *abuseHost) {
			for _, grant := range []string{goodGrant, grantOf + "admin&password=wrong+password"} {
				h.tries(t, badRequest(deviceMalformed), "POST", "/Token", grant+"&device="+strings.Repeat("x", 65))
				h.tries(t, badRequest(deviceNameMalformed), "POST", "/Token", grant+"&device=phone&device_name="+strings.Repeat("x", 101))
				h.tries(t, badRequest("A parameter is given twice."), "POST", "/Token", grant+"&device=phone&DEVICE=phone")
			}
			h.tries(t, rejected, "POST", "/Token", "device=telephone&"+grantOf+"admin&password=x")
		},
		with: withDevices,
	},
	{
		id: "V09", what: "a client that revokes a token of another client's device",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.host(t, new(memory.Store), directory{}, tokenauth.Options{
				Clients: registry{"app": {ID: "app"}, "other": {ID: "other"}}, Devices: &tokenauth.DeviceOptions{Parameter: "device"},
			})
			accessToken := h.signIn(t, onDevice("alice", "phone")+"&client_id=app")
			a := h.do(t, "POST", "/revoke", "token="+accessToken+"&client_id=other")
			refusal(http.StatusBadRequest, "unauthorized_client", "The token was issued to another client.").check(t, a)
			h.welcomes(t, accessToken, "after another client tried to revoke it")
			if a := h.do(t, "POST", "/revoke", "token="+accessToken+"&client_id=app"); a.StatusCode != http.StatusOK {
				t.Errorf("POST /revoke by the token's client: got %d %s, want 200", a.StatusCode, a.body)
			}
			h.refuses(t, invalidToken, accessToken)
			for _, client := range []string{"app", "other"} { // the slot is empty now
				if a := h.do(t, "POST", "/revoke", "token="+accessToken+"&client_id="+client); a.StatusCode != http.StatusOK {
					t.Errorf("POST /revoke of an ended token by %s: got %d %s, want 200", client, a.StatusCode, a.body)
				}
			}
		}),
	},
}

// The parameters of a device have the limits of the contract, by GET and by POST,
// with and without a registry of clients. Without the option they are ignored, as
// any unknown parameter is.
func TestDeviceParameters(t *testing.T) {
	t.Parallel()
	const (
		twice    = "A parameter is given twice."
		controls = "The parameters have control characters."
		notUTF8  = "The parameters are not UTF-8."
	)
	tests := []struct {
		name, query, parameters string
		device, deviceName      string // as stored
		refused                 string // the description of the error, or ""
		always                  bool   // refused without the option as well
	}{
		{name: "no device"},
		{name: "device", parameters: "&device=phone-1", device: "phone-1"},
		{name: "device and name", parameters: "&device=phone-1&device_name=Ann%27s+phone", device: "phone-1", deviceName: "Ann's phone"},
		{name: "names of the parameters in any case", parameters: "&DEVICE=phone&Device_Name=x", device: "phone", deviceName: "x"},
		{name: "space and punctuation", parameters: "&device=+a+%22%7E%21", device: ` a "~!`},
		{name: "64 bytes", parameters: "&device=" + strings.Repeat("x", 64), device: strings.Repeat("x", 64)},
		{name: "65 bytes", parameters: "&device=" + strings.Repeat("x", 65), refused: deviceMalformed},
		{name: "device that is not ASCII", parameters: "&device=%C3%BC", refused: deviceMalformed},
		{name: "device with a line break", parameters: "&device=a%0Ab", refused: deviceMalformed},
		{name: "device with a tab", parameters: "&device=%09", refused: deviceMalformed},
		{name: "device with DEL", parameters: "&device=a%7F", refused: deviceMalformed},
		{name: "device with NUL", parameters: "&device=a%00", refused: controls, always: true},
		{name: "device that is not UTF-8", parameters: "&device=%FF", refused: notUTF8, always: true},
		{name: "empty values", parameters: "&device=&device_name="},
		{name: "parameters without values", parameters: "&device&device_name"},
		{name: "name in UTF-8", parameters: "&device=phone&device_name=Zo%C3%AB%E2%80%99s+%F0%9F%93%B1", device: "phone", deviceName: "Zoë’s 📱"},
		{name: "name of 100 bytes", parameters: "&device=phone&device_name=" + strings.Repeat("%C3%BC", 50), device: "phone", deviceName: strings.Repeat("ü", 50)},
		{name: "name of 101 bytes", parameters: "&device=phone&device_name=x" + strings.Repeat("%C3%BC", 50), refused: deviceNameMalformed},
		{name: "name with a line break", parameters: "&device=phone&device_name=a%0D%0Ab", refused: deviceNameMalformed},
		{name: "name with a C1 control character", parameters: "&device=phone&device_name=%C2%85", refused: deviceNameMalformed},
		{name: "name with NUL", parameters: "&device=phone&device_name=%00", refused: controls, always: true},
		{name: "name that is not UTF-8", parameters: "&device=phone&device_name=%FF", refused: notUTF8, always: true},
		{name: "name without a device", parameters: "&device_name=Ann%27s+browser", deviceName: "Ann's browser"},
		{name: "device twice", parameters: "&device=a&device=b", refused: twice},
		{name: "device twice, once empty", parameters: "&device=&device=b", refused: twice},
		{name: "device twice in two spellings", parameters: "&device=a&Device=a", refused: twice},
		{name: "name twice", parameters: "&device=a&device_name=b&device_name=b", refused: twice},
		{name: "device in the query", query: "?device=tablet&device_name=x"},
		{name: "device in the query and in the body", query: "?device=tablet", parameters: "&device=phone", device: "phone"},
		{name: "malformed device in the query", query: "?device=%0A&device=" + strings.Repeat("x", 65)},
	}
	for _, mode := range []struct {
		name    string
		options tokenauth.Options
		more    string // added to each body
		reads   bool   // whether requests can name a device
	}{
		{"devices", tokenauth.Options{Devices: &tokenauth.DeviceOptions{Parameter: "device"}}, "", true},
		{"devices of clients", tokenauth.Options{Devices: &tokenauth.DeviceOptions{Parameter: "Device"}, Clients: registry{"app": {ID: "app"}}}, "&client_id=app", true},
		{"another parameter", tokenauth.Options{Devices: &tokenauth.DeviceOptions{Parameter: "installation"}}, "", false},
		{"devices of the host's code only", tokenauth.Options{Devices: new(tokenauth.DeviceOptions)}, "", false},
		{"no devices", tokenauth.Options{}, "", false},
	} {
		t.Run(mode.name, onEngines(func(t *testing.T, on engine) {
			h := on.host(t, new(memory.Store), directory{}, mode.options)
			for i, test := range tests {
				for _, method := range []string{"GET", "POST"} {
					what := test.name + " by " + method
					user := fmt.Sprint(method, i)
					a := h.do(t, method, "/Token"+test.query, grantFor(user, otherPassword)+mode.more+test.parameters)
					tokens, err := h.auth.Tokens(t.Context(), "id of "+user)
					if err != nil {
						t.Fatal(err)
					}
					if test.refused != "" && (mode.reads || test.always) {
						badRequest(test.refused).check(t, a)
						if len(tokens) != 0 {
							t.Errorf("%s: stored %+v, want no token", what, tokens)
						}
						continue
					}
					if a.StatusCode != http.StatusOK || len(tokens) != 1 {
						t.Errorf("%s: got %d %s and %d tokens, want 200 and one", what, a.StatusCode, a.body, len(tokens))
						continue
					}
					device, name := test.device, test.deviceName
					if !mode.reads {
						device, name = "", ""
					}
					if tokens[0].Device != device || tokens[0].DeviceName != name {
						t.Errorf("%s: stored the device %q with the name %q, want %q with %q", what, tokens[0].Device, tokens[0].DeviceName, device, name)
					}
				}
			}
		}))
	}
}

// A sign-in on a device ends the earlier token of that device only.
func TestDevicesAreIndependent(t *testing.T) {
	t.Parallel()
	onEngines(func(t *testing.T, on engine) {
		h := on.host(t, new(memory.Store), directory{}, tokenauth.Options{Devices: &tokenauth.DeviceOptions{Parameter: "device"}})
		plain := h.signIn(t, grantFor("alice", otherPassword))
		phone := h.signIn(t, onDevice("alice", "phone"))
		shouted := h.signIn(t, onDevice("alice", "PHONE")) // IDs differ by case
		again := h.signIn(t, onDevice("alice", "phone"))
		h.refuses(t, replacedToken, phone)
		for when, accessToken := range map[string]string{"without a device": plain, "the device": again, "another device": shouted} {
			h.welcomes(t, accessToken, when)
		}
		h.signIn(t, grantFor("alice", otherPassword)+"&device=")
		h.refuses(t, replacedToken, plain)
		h.welcomes(t, again, "after a sign-in without a device")
	})(t)
}
