package tokenauth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// An eventRecorder is an Observer that records each event.
type eventRecorder struct {
	mu     sync.Mutex
	events []tokenauth.Event
}

func (w *eventRecorder) Observe(_ context.Context, e tokenauth.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// drain returns the recorded events in short form, and removes them.
func (w *eventRecorder) drain() (texts []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		text := e.Kind.String()
		for _, part := range []string{string(e.Reason), e.UserID, e.UserName, e.ClientID} {
			text += " " + part
		}
		texts = append(texts, strings.Join(strings.Fields(text), " "))
	}
	w.events = nil
	return texts
}

func (w *eventRecorder) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := w.drain(); !reflect.DeepEqual(got, want) {
		t.Errorf("observed %q, want %q", got, want)
	}
}

// registered is a registry of confidential clients, with the tokens that each
// may introspect.
type registered map[string]right

// A right says which tokens a client may introspect.
type right int

const (
	none right = iota
	own
	all
)

var (
	registeredSecret = tokenauth.NewSecret(rand.Text())
	registeredDigest = tokenauth.Digest(sha256.Sum256([]byte(registeredSecret.Reveal())))
)

func (r registered) FindClient(_ context.Context, id string) (tokenauth.Client, error) {
	right, ok := r[id]
	if !ok {
		return tokenauth.Client{}, tokenauth.ErrNotFound
	}
	return tokenauth.Client{ID: id, Secrets: []tokenauth.Digest{registeredDigest}, IntrospectsOwn: right == own, IntrospectsAll: right == all}, nil
}

// Each call of the Service reports its result to the observers once.
func TestEachCallIsObservedOnce(t *testing.T) {
	t.Parallel()
	storage, users, w := new(scripted), &staff{}, new(eventRecorder)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	logger, _ := logInto()
	auth := newService(t, storage, users, &tokenauth.Options{
		Observers: []func(context.Context, tokenauth.Event){w.Observe}, Logger: logger, Now: func() time.Time { return now },
		Throttle: tokenauth.ThrottleOptions{PerAccountAndSource: 2},
	})
	ctx := t.Context()
	alices := tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("x"), RemoteAddr: netip.MustParseAddr("192.0.2.7")}
	signIn := func(want error) string {
		t.Helper()
		alices.Password = tokenauth.NewSecret(alices.Password.Reveal() + "x") // a repeated wrong password would not count
		g, err := auth.SignIn(ctx, alices)
		if !errors.Is(err, want) {
			t.Fatalf("SignIn: error %v, want %v", err, want)
		}
		return g.AccessToken.Reveal()
	}
	validate := func(accessToken string) { auth.Validate(ctx, accessToken) }

	first := signIn(nil)
	w.expect(t, "issued 17 alice")
	validate(first)
	w.expect(t, "validated 17 alice")
	second := signIn(nil)
	validate(first)
	w.expect(t, "issued 17 alice", "refused replaced 17 alice")
	validate("tat_rubbish")
	w.expect(t, "refused invalid")
	now = now.Add(14 * 24 * time.Hour)
	validate(second)
	w.expect(t, "refused expired 17 alice")

	auth.Revoke(ctx, second)
	w.expect(t, "revoked 17 alice")
	auth.Revoke(ctx, second)
	auth.Revoke(ctx, "rubbish")
	w.expect(t) // these calls changed nothing
	auth.RevokeUser(ctx, "17")
	w.expect(t, "revoked user 17")
	auth.RevokeClient(ctx, "web")
	w.expect(t, "revoked client web")
	if _, err := auth.Issue(ctx, bob(), &tokenauth.IssueOptions{ClientID: "web"}); err != nil {
		t.Fatal(err)
	}
	w.expect(t, "issued 18 bob web")

	users.err = tokenauth.ErrRejected
	signIn(tokenauth.ErrRejected)
	signIn(tokenauth.ErrRejected)
	signIn(tokenauth.ErrThrottled)
	w.expect(t, "sign_in_refused credentials", "sign_in_refused credentials", "sign_in_refused throttled")
	now = now.Add(time.Hour)
	users.err = fmt.Errorf("overloaded: %w", tokenauth.ErrBusy)
	signIn(tokenauth.ErrUnavailable)
	w.expect(t, "unavailable busy")
	users.err = nil

	storage.before = func(context.Context, string) error { return errors.New("no route to host") }
	signIn(tokenauth.ErrUnavailable)
	validate(second)
	auth.Revoke(ctx, second)
	auth.RevokeUser(ctx, "17")
	auth.Issue(ctx, bob(), nil)
	w.expect(t, "unavailable", "unavailable", "unavailable", "unavailable 17", "unavailable")
}

// A client that disconnects is not logged as an error of the server. A deadline
// set by the host that passes is.
func TestClientThatLeavesIsNotObservedAsUnavailable(t *testing.T) {
	t.Parallel()
	storage, w := new(scripted), new(eventRecorder)
	logger, log := logInto()
	auth := newService(t, storage, &staff{}, &tokenauth.Options{Observers: []func(context.Context, tokenauth.Event){w.Observe}, Logger: logger})
	accessToken := issue(t, auth, alice(), "")
	w.drain()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	auth.Validate(canceled, accessToken)
	auth.Revoke(canceled, accessToken)
	w.expect(t, "unavailable canceled", "unavailable canceled")
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("logged an error: %s", log)
	}
	// A storage error is reported as such, although the client disconnects
	// during the call.
	leaving, leave := context.WithCancel(t.Context())
	storage.before = func(context.Context, string) error { leave(); return errors.New("no route to host") }
	auth.Revoke(leaving, accessToken)
	w.expect(t, "unavailable")
	storage.before = nil
	late, cancel := context.WithTimeout(t.Context(), -1)
	defer cancel()
	auth.Validate(late, accessToken)
	w.expect(t, "unavailable")
	if !strings.Contains(log.String(), "level=ERROR") {
		t.Error("a deadline that has passed is not logged")
	}
}

// An event has the address, duration, digest and account of the call, and
// neither the password nor the name as typed.
func TestEventDescribesTheCall(t *testing.T) {
	t.Parallel()
	w, users := new(eventRecorder), &staff{}
	auth := newService(t, new(scripted), users, &tokenauth.Options{Observers: []func(context.Context, tokenauth.Event){w.Observe}, Logger: slog.New(slog.DiscardHandler)})
	from := netip.MustParseAddr("2001:db8::7")
	signIn := func(name string) tokenauth.Event {
		t.Helper()
		auth.SignIn(t.Context(), tokenauth.Credentials{UserName: name, Password: tokenauth.NewSecret("hunter2"), RemoteAddr: from})
		e := w.events[0]
		w.events = nil
		return e
	}
	issued := signIn("alice")
	if issued.RemoteAddr != from || issued.Duration <= 0 || issued.Digest.IsZero() || issued.Err != nil || len(issued.Account) != 16 {
		t.Errorf("the event of the sign-in is %+v", issued)
	}
	users.err = tokenauth.ErrRejected
	refused := signIn("alice")
	other := signIn("my passw0rd typed here")
	if refused.Account != issued.Account || other.Account == issued.Account {
		t.Errorf("the accounts are %q, %q and %q; want the first two equal and the third different", issued.Account, refused.Account, other.Account)
	}
	if !errors.Is(refused.Err, tokenauth.ErrRejected) || refused.UserID != "" || refused.UserName != "" {
		t.Errorf("the event of the refused sign-in is %+v", refused)
	}
	if text := fmt.Sprintf("%+v %#v", other, other); strings.Contains(text, "passw0rd") || strings.Contains(text, "hunter2") {
		t.Errorf("the event contains what the user typed: %s", text)
	}
}

// A principal that cannot be stored is an error of the host. The event and the
// log name the user, and the returned error does not.
func TestInvalidPrincipalIsLoggedWithItsUser(t *testing.T) {
	t.Parallel()
	logger, log := logInto()
	w := new(eventRecorder)
	p := tokenauth.Principal{UserID: "17", UserName: "al\xffice" + strings.Repeat("x", 600), Roles: []string{""}}
	auth := newService(t, new(scripted), principals{&p}, &tokenauth.Options{
		Logger: logger, Observers: []func(context.Context, tokenauth.Event){w.Observe},
		Fallback: func(*http.Request) (tokenauth.Principal, error) { return p, nil },
	})
	signIn := func() {
		t.Helper()
		g, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "typed"})
		if !errors.Is(err, tokenauth.ErrInvalidPrincipal) || !reflect.DeepEqual(g, tokenauth.IssuedToken{}) {
			t.Errorf("SignIn returned %+v, error %v; want ErrInvalidPrincipal", g, err)
		}
		if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, "ice") {
			t.Errorf("the error contains the user name: %s", text)
		}
	}
	signIn()
	w.expect(t, "unavailable internal 17 al\uFFFDice"+strings.Repeat("x", 256-len("al?ice")))
	p.UserName = "alice"
	log.Reset()
	signIn()
	w.expect(t, "unavailable internal 17 alice")
	if got := log.String(); !strings.Contains(got, "reason=internal user_id=17 user_name=alice") || !strings.Contains(got, "Roles must be non-empty") {
		t.Errorf("logged %s", got)
	}
	auth.Authorizer(tokenauth.Requirement{})(httptest.NewRequest("GET", "/", nil))
	w.expect(t, "unavailable internal 17 alice")
}

type principals struct{ p *tokenauth.Principal }

func (a principals) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	return *a.p, nil
}

// The endpoints and the guards report events that calls of the Service do not.
func TestEndpointsAndGuardsAreObserved(t *testing.T) {
	t.Parallel()
	w := new(eventRecorder)
	clients := registered{"web": own, "api": all, "none": none, "odd": 3}
	auth := newService(t, new(scripted), &staff{}, &tokenauth.Options{Observers: []func(context.Context, tokenauth.Event){w.Observe}, Clients: clients, Logger: slog.New(slog.DiscardHandler)})
	mux := http.NewServeMux()
	auth.Mount(mux, tokenauth.Endpoints{Revocation: "/revoke", Introspection: "/introspect"})
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	mux.Handle("/me", auth.RequireBearer(ok))
	mux.Handle("/open", auth.Optional(ok))
	mux.Handle("/admin", auth.RequireRole("Administrator")(ok))
	mux.Handle("/api", auth.RequireClient("api")(ok))
	do := func(path, body, client, accessToken string, want ...string) {
		t.Helper()
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		if client != "" {
			r.SetBasicAuth(client, registeredSecret.Reveal())
		}
		if accessToken != "" {
			r.Header.Set("Authorization", "Bearer "+accessToken)
		}
		mux.ServeHTTP(httptest.NewRecorder(), r)
		for _, e := range w.events {
			if e.Kind != event.Validated && e.RemoteAddr != netip.MustParseAddr("192.0.2.1") {
				t.Errorf("%v has the address %v", e.Kind, e.RemoteAddr)
			}
		}
		w.expect(t, want...)
	}
	const good = "grant_type=password&username=a&password=b"
	do("/Token", good, "web", "", "issued 17 alice web")
	do("/Token", "grant_type=password", "web", "", "sign_in_refused malformed")
	do("/Token", "grant_type=magic", "web", "", "sign_in_refused malformed")
	do("/Token", "grant_type=password&username=a&password=panic", "web", "", "unavailable internal")
	do("/Token", good, "nobody", "", "sign_in_refused client")

	accessToken := issue(t, auth, alice(), "web")
	w.drain()
	do("/me", "", "", accessToken, "validated 17 alice web")
	do("/me", "", "", "", "refused no_credentials")
	do("/me", "", "", "a,b", "refused malformed")
	do("/me", "", "", "tat_x", "refused invalid")
	do("/open", "", "", "") // an anonymous request is allowed, so there is no event
	do("/open", "", "", "tat_x", "refused invalid")
	do("/admin", "", "", accessToken, "validated 17 alice web", "refused role 17 alice web")
	do("/api", "", "", accessToken, "validated 17 alice web", "refused client 17 alice web")

	do("/introspect", "token="+accessToken, "web", "", "introspected 17 alice web")
	do("/introspect", "token=tat_x", "web", "", "introspected invalid")
	foreign := issue(t, auth, bob(), "api")
	w.drain()
	do("/introspect", "token="+foreign, "web", "", "introspected client")
	do("/introspect", "token="+accessToken, "none", "", "refused client")
	do("/introspect", "token="+accessToken, "odd", "", "refused client")
	do("/introspect", "", "web", "", "refused malformed")
	do("/revoke", "token="+accessToken, "api", "", "refused client")
	do("/revoke", "token="+accessToken, "nobody", "", "refused client")
	do("/revoke", "token="+accessToken, "web", "", "revoked 17 alice web")
}

// A panic of an observer changes no result, and the other observers are still
// called.
func TestObserverPanicChangesNoResult(t *testing.T) {
	t.Parallel()
	logger, log := logInto()
	after := new(eventRecorder)
	auth := newService(t, new(scripted), &staff{}, &tokenauth.Options{Observers: []func(context.Context, tokenauth.Event){panickyObserver{}.Observe, after.Observe}, Logger: logger})
	accessToken := issue(t, auth, alice(), "")
	expect(t, auth, accessToken, "valid")
	if n := strings.Count(log.String(), "panic in an observer"); n != 2 || strings.Contains(log.String(), "oh no") {
		t.Errorf("logged %d panics, want 2 without their values: %s", n, log)
	}
	after.expect(t, "issued 17 alice", "validated 17 alice")
}

// Any client can cause an event. So the log has a limit for panics that each
// event causes.
func TestRepeatedPanicsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	logger, log := logInto()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	auth := newService(t, new(scripted), panickyUsers{}, &tokenauth.Options{
		Observers: []func(context.Context, tokenauth.Event){panickyObserver{}.Observe}, Logger: logger, Now: func() time.Time { return now },
		Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
	})
	panics := func(n int) {
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				r := httptest.NewRequest("POST", "/Token", strings.NewReader("grant_type=password&username=a&password=b"))
				auth.TokenHandler().ServeHTTP(httptest.NewRecorder(), r)
			})
		}
		wg.Wait()
	}
	panics(300)
	for _, message := range []string{"panic in an observer", "panic in the authenticator"} {
		if n := strings.Count(log.String(), message); n != 100 {
			t.Errorf("%d of 300 panics were logged with %q, want 100", n, message)
		}
	}
	log.Reset()
	now = now.Add(100 * time.Millisecond)
	panics(1)
	if n := strings.Count(log.String(), "suppressed=200"); n != 2 {
		t.Errorf("%d records report the suppressed ones, want 2: %s", n, log)
	}
}

// The log names the component that panicked. It has the text of a runtime error
// only: a value that the host panics with may contain a password.
func TestPanicIsLoggedWithItsSourceAndNoSecret(t *testing.T) {
	t.Parallel()
	var nobody map[string]int
	bug := func() { nobody["hunter2"]++ }
	logger, log := logInto()
	storage, users, clients := new(scripted), &staff{}, &panickyClients{registered: registered{"web": none}}
	var live, fallback func()
	auth := newService(t, storage, users, &tokenauth.Options{
		Logger: logger, Clients: clients,
		LiveCheck: func(context.Context, tokenauth.Token) error { call(live); return nil },
		Fallback:  func(*http.Request) (tokenauth.Principal, error) { call(fallback); return alice(), nil },
	})
	var accessToken string
	signIn := func(password string) (*http.Request, http.Handler) {
		r := httptest.NewRequest("POST", "/Token", strings.NewReader("grant_type=password&username=alice&password="+password))
		r.SetBasicAuth("web", registeredSecret.Reveal())
		return r, auth.TokenHandler()
	}
	guarded := func(accessToken string) (*http.Request, http.Handler) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+accessToken)
		return r, auth.RequireBearer(http.NotFoundHandler())
	}
	panicIn := func(method string) func(context.Context, string) error {
		return func(_ context.Context, called string) error {
			if called == method {
				bug()
			}
			return nil
		}
	}
	const text = "assignment to entry in nil map"
	for _, test := range []struct {
		name, in, text string
		set            func()
		do             func() (*http.Request, http.Handler)
	}{
		{"Find", "the storage", text, func() { storage.before = panicIn("Find") }, func() (*http.Request, http.Handler) { return guarded(accessToken) }},
		{"Replace", "the storage", text, func() { storage.before = panicIn("Replace") }, func() (*http.Request, http.Handler) { return signIn("x") }},
		{"Authenticate", "the authenticator", "", func() {}, func() (*http.Request, http.Handler) { return signIn("panic") }},
		{"Recheck", "the authenticator", text, func() { users.look = func(context.Context, tokenauth.Principal) error { bug(); return nil } }, func() (*http.Request, http.Handler) { return signIn("x") }},
		{"FindClient", "Options.Clients", text, func() { clients.step = bug }, func() (*http.Request, http.Handler) { return signIn("x") }},
		{"LiveCheck", "Options.LiveCheck", text, func() { live = bug }, func() (*http.Request, http.Handler) { return guarded(accessToken) }},
		{"Fallback", "Options.Fallback", text, func() { fallback = bug }, func() (*http.Request, http.Handler) { return guarded("old") }},
		{"LiveCheck after Fallback", "Options.LiveCheck", text, func() { live = bug }, func() (*http.Request, http.Handler) { return guarded("old") }},
	} {
		storage.before, users.look, clients.step, live, fallback = nil, nil, nil, nil, nil
		accessToken = issue(t, auth, alice(), "web")
		log.Reset()
		test.set()
		r, handler := test.do()
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, r)
		got := log.String()
		if recorder.Code != 500 || !strings.Contains(got, `"tokenauth: panic in `+test.in+`"`) || strings.Contains(got, "error=") != (test.text != "") ||
			!strings.Contains(got, test.text) || strings.Contains(got, "hunter2") || strings.Contains(got, "a bug of the host's") {
			t.Errorf("%s: answered %d, logged %s", test.name, recorder.Code, got)
		}
	}
}

func call(f func()) {
	if f != nil {
		f()
	}
}

type panickyClients struct {
	registered
	step func()
}

func (c *panickyClients) FindClient(ctx context.Context, id string) (tokenauth.Client, error) {
	call(c.step)
	return c.registered.FindClient(ctx, id)
}

type panickyUsers struct{}

func (panickyUsers) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	panic("oh no")
}

type panickyObserver struct{}

func (panickyObserver) Observe(context.Context, tokenauth.Event) { panic("oh no") }

func TestSecurityLogWritesEventsUpToALimit(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	logger := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	users := &staff{}
	auth := newService(t, new(scripted), users, &tokenauth.Options{
		Logger: logger, Now: func() time.Time { return now }, Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
	})
	expectLog := func(want ...string) {
		t.Helper()
		got := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		b.Reset()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}
	}
	grant, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("x"), RemoteAddr: netip.MustParseAddr("192.0.2.7")})
	if err != nil {
		t.Fatal(err)
	}
	id := grant.Token.Digest.String()[:16]
	expectLog(`level=INFO msg="tokenauth: token issued" event=issued user_id=17 user_name=alice remote_addr=192.0.2.7 token=` + id)
	expect(t, auth, grant.AccessToken.Reveal(), "valid")
	auth.Validate(t.Context(), "rubbish")
	expectLog("") // both are logged at level DEBUG only
	auth.RevokeToken(t.Context(), grant.Token)
	expectLog(`level=INFO msg="tokenauth: tokens revoked" event=revoked user_id=17 user_name=alice token=` + id)

	// Many refused sign-ins fill the log only up to the limit.
	users.err = tokenauth.ErrRejected
	reject := func(n int) {
		for range n {
			auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice"})
		}
	}
	const refused = `level=WARN msg="tokenauth: sign-in refused" event=sign_in_refused reason=credentials`
	reject(1000)
	if n := strings.Count(b.String(), refused+"\n"); n != 100 || strings.Count(b.String(), "\n") != n {
		t.Errorf("%d of 1000 records were written, want 100: %s", n, &b)
	}
	b.Reset()
	auth.RevokeUser(t.Context(), "17") // another kind of event has its own limit
	expectLog(`level=INFO msg="tokenauth: tokens revoked" event=revoked reason=user user_id=17`)
	now = now.Add(150 * time.Millisecond)
	reject(2)
	expectLog(refused + " suppressed=900")
	now = now.Add(50 * time.Millisecond)
	reject(2)
	expectLog(refused + " suppressed=1")
	now = now.Add(time.Hour)
	reject(200)
	if n := strings.Count(b.String(), refused); n != 100 {
		t.Errorf("after an hour %d of 200 records were written, want 100", n)
	}
}

func TestEventKindsHaveNames(t *testing.T) {
	t.Parallel()
	for kind, want := range map[event.Kind]string{
		0: "unknown", -1: "unknown", event.Unavailable + 1: "unknown",
		event.Issued: "issued", event.SignInRefused: "sign_in_refused", event.Validated: "validated",
		event.Refused: "refused", event.Introspected: "introspected", event.Revoked: "revoked",
		event.Refreshed: "refreshed", event.RefreshRefused: "refresh_refused", event.Unavailable: "unavailable",
	} {
		if got := kind.String(); got != want {
			t.Errorf("kind %d is %q, want %q", kind, got, want)
		}
	}
}

// The log and the event name the role that the user lacks. The response does
// not.
func TestMissingRoleIsLoggedAndNotSent(t *testing.T) {
	t.Parallel()
	logger, log := logInto()
	w := new(eventRecorder)
	auth := newService(t, new(scripted), &staff{}, &tokenauth.Options{Logger: logger, Observers: []func(context.Context, tokenauth.Event){w.Observe}})
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+issue(t, auth, alice(), ""))
	recorder := httptest.NewRecorder()
	auth.RequireRole("Administrator", "Auditor")(http.NotFoundHandler()).ServeHTTP(recorder, r)
	if recorder.Code != 403 || strings.Contains(recorder.Body.String(), "Auditor") || strings.Contains(fmt.Sprint(recorder.Header()), "Auditor") {
		t.Errorf("answered %d with headers %v and body %s; want 403 without the role names", recorder.Code, recorder.Header(), recorder.Body)
	}
	if want := `needs_one_of="[Administrator Auditor]" has_roles="[Reader Staff]"`; !strings.Contains(log.String(), want) {
		t.Errorf("logged %s", log)
	}
	if e := w.events[len(w.events)-1]; e.Reason != event.ReasonRole || !strings.Contains(e.Err.Error(), `the route needs one of ["Administrator" "Auditor"], the user has ["Reader" "Staff"]`) {
		t.Errorf("observed %+v", e)
	}
}

// The log warns once of a proxy that is not trusted: all clients behind it
// count as one source.
func TestUntrustedProxyIsLoggedOnce(t *testing.T) {
	t.Parallel()
	logger, log := logInto()
	auth := newService(t, new(scripted), &staff{}, &tokenauth.Options{
		Logger: logger, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	})
	signIn := func(peer, forwarded string) {
		t.Helper()
		r := httptest.NewRequest("POST", "/Token", strings.NewReader("grant_type=password&username=alice&password=x"))
		r.RemoteAddr = peer
		if forwarded != "" {
			r.Header.Set("X-Forwarded-For", forwarded)
		}
		recorder := httptest.NewRecorder()
		auth.TokenHandler().ServeHTTP(recorder, r)
		if recorder.Code != 200 {
			t.Fatalf("answered %d", recorder.Code)
		}
	}
	const warning = "a peer that is not in Options.TrustedProxies"
	signIn("10.0.0.1:1", "198.51.100.7")
	signIn("192.0.2.1:1", "")
	if strings.Contains(log.String(), warning) {
		t.Errorf("warned of a trusted proxy, or without a header: %s", log)
	}
	for range 3 {
		signIn("192.0.2.1:1", "198.51.100.7")
	}
	if n := strings.Count(log.String(), warning); n != 1 || !strings.Contains(log.String(), "peer=192.0.2.1") {
		t.Errorf("logged %d times, want 1: %s", n, log)
	}
}
