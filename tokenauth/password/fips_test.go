package password

import (
	"context"
	"crypto/fips140"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// fipsMode is an environment variable. In a child process of TestFIPSModes it
// holds the mode.
const fipsMode = "TOKENAUTH_TEST_FIPS"

// The mode cannot change within a process, so each mode is tested in a child
// process.
func TestFIPSModes(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"off", "on", "only"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			child := exec.CommandContext(t.Context(), self, "-test.run=^TestSignInInFIPSMode$", "-test.v")
			child.Env = append(os.Environ(), "GODEBUG=fips140="+mode, fipsMode+"="+mode)
			out, err := child.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS: TestSignInInFIPSMode") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// A fipsCase is an account and its password.
type fipsCase struct {
	hash, password string
	fails          int // the status if fips140=only refuses the hash; 0 if it does not
}

var fipsCases = map[string]fipsCase{
	"argon2id":               {"", "my password", 0}, // hashed in the process
	"bcrypt":                 {"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U", 0},
	"identity-3-sha256":      {aspnetV3Hash, "my password", 0},
	"identity-3-sha512":      {"AQAAAAIAAYagAAAAEAABAgMEBQYHCAkKCwwNDg/Q8A0WMKbtHQJQ2DHCdoEeeFBrgNlldq6vH4qX/CGqGQ==", "my password", 0},
	"pbkdf2-sha256":          {"$pbkdf2-sha256$6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M", "password", 0},
	"identity-2":             {aspnetV2Hash, "my password", http.StatusServiceUnavailable},
	"identity-3-sha1":        {"AQAAAAAAAAD6AAAAEAhftMyfTJylOlZT+eEotFXd1elee8ih5WsjXaR3PA9M", "my password", http.StatusServiceUnavailable},
	"pbkdf2-sha1":            {"$pbkdf2$1212$OB.dtnSEXZK8U5cgxU/GYQ$y5LKPOplRmok7CZp/aqVDVg8zGI", "password", http.StatusServiceUnavailable},
	"pbkdf2-sha1-accents":    {pbkdf2PHC("pbkdf2-sha1", "i=1000,l=20", "c2l4dGVlbiBvZiBieXRlcw", "iADtVz3woNSgQou3+qKS9a4JrIQ"), "pässword", http.StatusServiceUnavailable},
	"pbkdf2-sha256-salt-of8": {pbkdf2PHC("pbkdf2-sha256", "i=1000,l=40", "ZWlnaHQgYnk", "SL8jbhuc01iL/8ONAq1SxVdHY9erlWuSx7DLVg/Yf7CH22jgbApbUw"), "pässword", http.StatusServiceUnavailable},
	"host's":                 {"host$86dd1cf45142e904cb2e99c2721fac3ca198c6ca", "host", http.StatusInternalServerError},
}

// hostSHA1 is a host's format. With fips140=only, crypto/sha1 panics in it.
func hostSHA1(stored string) func(string) bool {
	digest, ok := strings.CutPrefix(stored, "host$")
	if !ok {
		return nil
	}
	return func(password string) bool {
		sum := sha1.Sum([]byte(password))
		return subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(digest)) == 1
	}
}

// TestSignInInFIPSMode runs in a child process. If a hash cannot be computed,
// each sign-in must fail with an error, whatever the password, and never count
// as a failed sign-in. Everything else must work.
func TestSignInInFIPSMode(t *testing.T) {
	mode := os.Getenv(fipsMode)
	if mode == "" {
		t.Skip("runs only in a child process of TestFIPSModes")
	}
	if fips140.Enabled() != (mode != "off") {
		t.Fatalf("mode %s: fips140.Enabled is %v", mode, fips140.Enabled())
	}
	made, err := Hash("my password")
	if err != nil {
		t.Fatal(err)
	}
	h := newFIPSHost(t, made)

	for name, c := range fipsCases {
		right, wrong := http.StatusOK, http.StatusBadRequest
		if mode == "only" && c.fails != 0 {
			right, wrong = c.fails, c.fails
		}
		if got := h.signIn(t, name, c.password); got != right {
			t.Errorf("%s, right password: got status %d, want %d", name, got, right)
		}
		if got := h.signIn(t, name, "another"); got != wrong {
			t.Errorf("%s, wrong password: got status %d, want %d", name, got, wrong)
		}
		if right == http.StatusOK || name != "identity-2" && name != "host's" {
			continue
		}
		// An account may fail five times from one source.
		for i := range 10 {
			if got := h.signIn(t, name, fmt.Sprint("password ", i)); got != wrong {
				t.Fatalf("%s, wrong password number %d: got status %d, want %d", name, i, got, wrong)
			}
		}
	}
	if mode != "only" {
		return
	}
	// If all accounts in the sample have such a hash, existing accounts, disabled
	// accounts and unknown names all get the same error.
	h = newFIPSHost(t, made)
	h.signIn(t, "identity-2", "my password")
	for _, name := range []string{"identity-2", "nobody", "disabled"} {
		if got := h.signIn(t, name, "my password"); got != http.StatusServiceUnavailable {
			t.Errorf("%s: got status %d, want 503", name, got)
		}
	}
	if got := h.log.String(); !strings.Contains(got, "a hash cannot be computed in this process") || strings.Contains(got, aspnetV2Hash) || strings.Contains(got, "my password") {
		t.Errorf("got log %q", got)
	}
}

// A fipsHost is a service that uses all hash functions: for passwords, a
// throttle with a key, and upgrades.
type fipsHost struct {
	mux *http.ServeMux
	log *lockedLog
}

type lockedLog struct {
	mu sync.Mutex
	strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(p)
}

func newFIPSHost(t *testing.T, made string) *fipsHost {
	t.Helper()
	h := &fipsHost{mux: http.NewServeMux(), log: new(lockedLog)}
	logger := slog.New(slog.NewTextHandler(h.log, nil))
	lookup := func(_ context.Context, userName string) (Account, error) {
		c, ok := fipsCases[userName]
		if userName == "disabled" {
			c, ok = fipsCases["identity-2"], true
		}
		if !ok {
			return Account{}, tokenauth.ErrNotFound
		}
		if c.hash == "" {
			c.hash = made
		}
		return Account{UserID: userName, UserName: userName, PasswordHash: c.hash, Disabled: userName == "disabled", Stamp: "1"}, nil
	}
	upgrade := func(_ context.Context, _, _, newHash string) error {
		if !strings.HasPrefix(newHash, argon2idMarker) {
			t.Errorf("a hash was upgraded to %q", newHash)
		}
		return nil
	}
	users, err := New(lookup, &Options{Formats: []format{hostSHA1}, Upgrade: upgrade, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := tokenauth.New(new(memory.Store), users, &tokenauth.Options{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	auth.Mount(h.mux)
	h.mux.Handle("/me", auth.RequireBearer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})))
	return h
}

// signIn returns the status of the response. It checks that the new token is
// valid.
func (h *fipsHost) signIn(t *testing.T, name, password string) int {
	t.Helper()
	form := url.Values{"grant_type": {"password"}, "username": {name}, "password": {password}}
	r := httptest.NewRequest(http.MethodPost, "/Token", strings.NewReader(form.Encode()))
	w := httptest.NewRecorder()
	h.mux.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		return w.Code
	}
	_, rest, _ := strings.Cut(w.Body.String(), `"access_token":"`)
	accessToken, _, _ := strings.Cut(rest, `"`)
	r = httptest.NewRequest(http.MethodGet, "/me", nil)
	r.Header.Set("Authorization", "Bearer "+accessToken)
	me := httptest.NewRecorder()
	if h.mux.ServeHTTP(me, r); me.Code != http.StatusOK {
		t.Errorf("%s: a request with the new token got status %d", name, me.Code)
	}
	return w.Code
}
