package matrix

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/examples/torture/internal/accesstoken"
	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// A variant is a configuration of a [tokenauth.Service].
type variant struct {
	name                                                   string
	cache, warm, clients, counters, live, devices, refresh bool
}

var variants = []*variant{
	{name: "strict"},
	{name: "cache, cold", cache: true},
	{name: "cache, warm", cache: true, warm: true},
	{name: "clients", clients: true},
	{name: "shared counters", counters: true},
	{name: "live check", live: true},
	{name: "all", cache: true, clients: true, counters: true, live: true},
	{name: "devices", devices: true},
	{name: "all, devices", cache: true, clients: true, counters: true, live: true, devices: true},
	{name: "refresh", refresh: true},
	{name: "refresh, cache, warm", cache: true, warm: true, refresh: true},
	{name: "all, devices, refresh", cache: true, clients: true, counters: true, live: true, devices: true, refresh: true},
}

// subjects returns the names of the tokens of a world. Erin's was issued before she was
// disabled, and was not revoked. Alice has as many tokens at the app as the bound
// allows. The one on the device "phone" was used longest ago.
//
// With refresh tokens, Frank has just refreshed: the pair "used" was replaced by
// "rotated", and the grace is not over. Gina refreshed a minute ago: the pair "reused" was
// replaced by "kept".
func (v *variant) subjects() []string {
	all := []string{"good", "desk", "other", "erin", "older", "replaced", "revoked", "expired", "forged"}
	if v.devices {
		all = append(all, "phone", "tablet")
	}
	if v.refresh {
		all = append(all, "rotated", "used", "kept", "reused", "hugo")
	}
	return all
}

// app returns the ID of the client at which users sign in.
func (v *variant) app() string {
	if v.clients {
		return "app"
	}
	return ""
}

const (
	lifetime        = time.Hour // of an access token
	refreshLifetime = 24 * time.Hour
	grace           = 30 * time.Second
)

// A hanging call ends after worldTimeout. Calls that the Service does not limit end with
// the caller's context, after callerPatience.
const (
	worldTimeout   = 10 * time.Millisecond
	callerPatience = 30 * time.Millisecond
)

// live maps the subjects with a valid token to their users.
var live = map[string]string{
	"good": "alice", "desk": "alice", "other": "bob", "erin": "erin", "phone": "alice", "tablet": "alice",
	"rotated": "frank", "kept": "gina", "hugo": "hugo",
}

// liveIfStale maps the subjects whose tokens were valid before their slots last changed,
// and are invalid now, to their users. The subjects that are valid now were not before.
var liveIfStale = map[string]string{"replaced": "alice", "revoked": "dave", "used": "frank", "reused": "gina"}

// A world is a service with a known state. All that it calls can be made to fail.
type world struct {
	*variant
	*striker
	auth   *tokenauth.Service
	store  *struckStorage
	clock  tokenauthtest.Clock
	tokens map[string]string
	// refreshTokens has those of the subjects, if the variant has refresh tokens. The
	// one of "made-up" is for the slot of "good".
	refreshTokens map[string]string
	client        tokenauth.Secret // the secret of the client app
	log           lockedBuffer
	patience      time.Duration // as that of a trial
	stop          func()
}

// newWorld creates a world with a service of the variant. The plant may be nil.
func newWorld(ctx context.Context, v *variant, plant func(tokenauth.Storage) tokenauth.Storage) (*world, error) {
	w := &world{variant: v, striker: new(striker), tokens: make(map[string]string), refreshTokens: make(map[string]string)}
	w.store = newStruckStorage(w.striker)
	host := &struckHost{striker: w.striker}
	options := &tokenauth.Options{
		Name: "torture", Lifetime: lifetime, Timeout: worldTimeout, Now: w.clock.Now,
		Logger: slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if v.cache {
		options.Cache = &tokenauth.CacheOptions{MaxEntries: 100}
	}
	if v.clients {
		w.client = tokenauth.NewSecret(rand.Text())
		host.clients = map[string]tokenauth.Client{
			"app":  {ID: "app", Secrets: []tokenauth.Digest{sha256.Sum256([]byte(w.client.Reveal()))}, IntrospectsAll: true},
			"desk": {ID: "desk", Secrets: []tokenauth.Digest{sha256.Sum256([]byte(rand.Text()))}},
		}
		options.Clients = host
	}
	if v.counters {
		options.Throttle.Key = tokenauth.NewSecret("32 bytes that the replicas share")
	}
	if v.devices {
		options.Devices = &tokenauth.DeviceOptions{Parameter: "device", Max: 3}
		if !v.refresh {
			options.MaxLifetime = 24 * time.Hour
		}
	}
	if v.refresh {
		options.Refresh = &tokenauth.RefreshOptions{Lifetime: refreshLifetime, Grace: grace}
	}
	if v.live {
		options.LiveCheck = host.liveCheck
	}
	var storage tokenauth.Storage = w.store
	if plant != nil {
		storage = plant(storage)
	}
	var err error
	if w.auth, err = tokenauth.New(storage, host, options); err != nil {
		return nil, err
	}
	w.run(ctx)
	if err := w.populate(ctx); err != nil {
		w.stop()
		return nil, err
	}
	return w, nil
}

// run runs the service if it has a cache, and returns when the cache serves. By then
// [tokenauth.Service.Run] has purged the storage and stored the service's name. With a
// plant that loses the name, run waits for a second.
func (w *world) run(ctx context.Context) {
	if w.stop = func() {}; !w.cache {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { w.auth.Run(ctx) })
	w.stop = func() {
		cancel()
		running.Wait()
	}
	began := time.Now()
	ready := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		named := w.replaces > 0 || time.Since(began) > time.Second
		return w.purges > 0 && named && w.underWay == 0
	}
	for ctx.Err() == nil && (!w.auth.CacheStats().FeedAlive || !ready()) {
		time.Sleep(20 * time.Microsecond)
	}
}

// populate issues the tokens of the subjects.
func (w *world) populate(ctx context.Context) error {
	issue := func(subject, user, client, device string) error {
		w.clock.Advance(time.Second) // so that the tokens have an order
		g, err := w.auth.Issue(ctx, principalOf(user), &tokenauth.IssueOptions{ClientID: client, Device: device})
		w.tokens[subject], w.refreshTokens[subject] = g.AccessToken.Reveal(), g.RefreshToken.Reveal()
		return err
	}
	refresh := func(used, subject, user string) error {
		if !w.refresh {
			return nil
		}
		if err := issue(used, user, w.app(), ""); err != nil {
			return err
		}
		g, err := w.refreshWith(ctx, w.refreshTokens[used])
		w.tokens[subject], w.refreshTokens[subject] = g.AccessToken.Reveal(), g.RefreshToken.Reveal()
		return err
	}
	if err := issue("expired", "carol", w.app(), ""); err != nil {
		return err
	}
	w.clock.Advance(48 * time.Hour) // so that Purge can remove it
	if w.devices {
		for _, device := range []string{"phone", "tablet"} {
			if err := issue(device, "alice", w.app(), device); err != nil {
				return err
			}
		}
	}
	for _, t := range [][3]string{
		{"older", "alice", w.app()}, {"replaced", "alice", w.app()}, {"good", "alice", w.app()}, {"desk", "alice", "desk"},
		{"other", "bob", w.app()}, {"erin", "erin", w.app()}, {"revoked", "dave", w.app()},
	} {
		if err := issue(t[0], t[1], t[2], ""); err != nil {
			return err
		}
	}
	if err := w.auth.Revoke(ctx, w.tokens["revoked"]); err != nil {
		return err
	}
	if w.refresh {
		if err := issue("hugo", "hugo", w.app(), ""); err != nil {
			return err
		}
	}
	if err := refresh("reused", "kept", "gina"); err != nil {
		return err
	}
	w.clock.Advance(time.Minute) // so that Extend has something to do, and for the grace
	if err := refresh("used", "rotated", "frank"); err != nil {
		return err
	}
	if w.refresh {
		w.tokens["made-up"] = w.tokens["good"] // which has the same slot
		w.refreshTokens["made-up"] = accesstoken.MakeUp(mathrand.New(mathrand.NewPCG(1, 1)), w.refreshTokens["good"])
	}
	w.tokens["forged"] = accesstoken.ForgeSecret(mathrand.New(mathrand.NewPCG(1, 1)), w.tokens["good"])
	if w.warm {
		for _, subject := range w.subjects() {
			if live[subject] == "" {
				continue
			}
			if _, err := w.auth.Validate(ctx, w.tokens[subject]); err != nil {
				return err
			}
		}
	}
	return nil
}

// refreshWith refreshes with the refresh token, as the client app.
func (w *world) refreshWith(ctx context.Context, refreshToken string) (tokenauth.IssuedToken, error) {
	return w.auth.Refresh(ctx, tokenauth.Credentials{
		RefreshToken: tokenauth.NewSecret(refreshToken), ClientID: w.app(), ClientSecret: w.client, RemoteAddr: remoteAddr,
	})
}

// stored returns the token of a subject, as far as its access token tells.
func (w *world) stored(subject string) tokenauth.Token {
	return accesstoken.StoredAs(w.tokens[subject])
}

// dropStaleRows makes the cache drop stale rows: a user's tokens change, and the slots of
// the others are read again.
func (w *world) dropStaleRows(ctx context.Context) {
	w.auth.RevokeUser(ctx, "dave")
	for _, subject := range []string{"rotated", "kept"} {
		if token := w.tokens[subject]; token != "" {
			w.auth.Validate(ctx, accesstoken.ForgeSecret(mathrand.New(mathrand.NewPCG(1, 2)), token))
		}
	}
}

// holds reports whether the slot of the subject holds a token.
func (w *world) holds(ctx context.Context, subject string) bool {
	_, err := w.store.store.Find(ctx, w.stored(subject).Slot)
	return err == nil
}

// holdsToken reports whether the storage has the token of the subject.
func (w *world) holdsToken(ctx context.Context, subject string) bool {
	if w.tokens[subject] == "" {
		return false // the variant has no such subject
	}
	t := w.stored(subject)
	held, err := w.store.store.Find(ctx, t.Slot)
	return err == nil && held.Digest == t.Digest
}

// secrets returns the texts that no answer and no log may contain.
func (w *world) secrets() []string {
	secrets := []string{passwordOf("alice"), passwordOf("erin")}
	if w.clients {
		secrets = append(secrets, w.client.Reveal())
	}
	for _, t := range w.tokens {
		secrets = append(secrets, t)
	}
	for _, t := range w.refreshTokens {
		if t != "" {
			secrets = append(secrets, t)
		}
	}
	return secrets
}

// The paths of a world, except /Token.
const (
	guardedPath, rolePath, clientPath, optionalPath = "/guarded", "/role", "/client", "/optional"
	revokePath, introspectPath                      = "/revoke", "/introspect"
)

func (w *world) endpoints() tokenauth.Endpoints {
	e := tokenauth.Endpoints{Revocation: revokePath}
	if w.clients {
		e.Introspection = introspectPath
	}
	return e
}

// anonymous is the answer of whoami without a token.
const anonymous = "nobody"

// whoami answers with the user's ID.
func whoami(w http.ResponseWriter, r *http.Request) {
	user := anonymous
	if t, ok := tokenauth.FromContext(r.Context()); ok {
		user = t.Principal.UserID
	}
	w.Write([]byte(user))
}

// standard returns the host's routes with net/http.
func (w *world) standard() http.Handler {
	mux, behind := http.NewServeMux(), http.HandlerFunc(whoami)
	w.auth.Mount(mux, w.endpoints())
	mux.Handle(guardedPath, w.auth.RequireBearer(behind))
	mux.Handle(rolePath, w.auth.RequireRole(editor)(behind))
	mux.Handle(clientPath, w.auth.RequireClient("app")(behind))
	mux.Handle(optionalPath, w.auth.Optional(behind))
	return mux
}

// gin returns the host's routes with Gin.
func (w *world) gin() http.Handler {
	r, behind := gin.New(), gin.WrapF(whoami)
	ginadapter.Mount(r, w.auth, w.endpoints())
	r.GET(guardedPath, ginadapter.RequireBearer(w.auth), behind)
	r.GET(rolePath, ginadapter.RequireRole(w.auth, editor), behind)
	r.GET(clientPath, ginadapter.RequireClient(w.auth, "app"), behind)
	r.GET(optionalPath, ginadapter.Optional(w.auth), behind)
	return r
}

// A lockedBuffer holds a log. It is safe for concurrent use.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
