package ginadapter_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A host is a Service whose look-ups and events are counted.
type host struct {
	*tokenauth.Service
	store       *countingStore
	accessToken string // of alice, who has the role Reader

	mu     sync.Mutex
	events []string
}

func newHost(t *testing.T) *host {
	h := &host{store: new(countingStore)}
	var err error
	h.Service, err = tokenauth.New(h.store, nil, &tokenauth.Options{
		Logger: slog.New(slog.DiscardHandler),
		Observers: []func(context.Context, tokenauth.Event){func(_ context.Context, e tokenauth.Event) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.events = append(h.events, strings.TrimSpace(e.Kind.String()+" "+string(e.Reason)))
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.accessToken = h.issue(t, tokenauth.Principal{UserID: "17", UserName: "alice", Roles: []string{"Reader"}})
	h.did()
	return h
}

func (h *host) issue(t *testing.T, p tokenauth.Principal) string {
	issued, err := h.Issue(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return issued.AccessToken.Reveal()
}

// unknown returns an access token that was revoked, so a guard has to look it up.
func (h *host) unknown(t *testing.T) string {
	accessToken := h.issue(t, tokenauth.Principal{UserID: "18"})
	if err := h.Revoke(t.Context(), accessToken); err != nil {
		t.Fatal(err)
	}
	h.did()
	return accessToken
}

// did returns the look-ups and the events since the last call.
func (h *host) did() (finds int, events []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	finds, events = int(h.store.finds.Swap(0)), h.events
	h.events = nil
	return finds, events
}

// A host's middleware can call a guard as a func. The guard returns before the
// next handler of the chain runs, so the middleware can read the token, set
// values of its own and let the chain go on. If the guard refused the request, no
// further handler runs.
func TestMiddlewareCallsAGuard(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for name, test := range map[string]struct {
		guard       gin.HandlerFunc
		accessToken string
		user        string // "" means that the guard refuses the request
		status      int
	}{
		"RequireBearer":                  {ginadapter.RequireBearer(h.Service), h.accessToken, "alice", 200},
		"RequireBearer without a token":  {ginadapter.RequireBearer(h.Service), "", "", 401},
		"RequireRole":                    {ginadapter.RequireRole(h.Service, "Reader"), h.accessToken, "alice", 200},
		"RequireRole with another role":  {ginadapter.RequireRole(h.Service, "Writer"), h.accessToken, "", 403},
		"RequireClient with another one": {ginadapter.RequireClient(h.Service, "web"), h.accessToken, "", 403},
		"AllowGuests":                    {ginadapter.AllowGuests(h.Service), h.accessToken, "alice", 200},
		"AllowGuests without a token":    {ginadapter.AllowGuests(h.Service), "", "guest", 200},
		"AllowGuests with a bad token":   {ginadapter.AllowGuests(h.Service), "tat_bad", "", 401},
		"AllowGuests with two words":     {ginadapter.AllowGuests(h.Service), "a b", "", 400},
		"Optional":                       {ginadapter.Optional(h.Service), h.accessToken, "alice", 200},
		"Optional with a bad token":      {ginadapter.Optional(h.Service), "tat_bad", "guest", 200},
	} {
		var steps []string
		step := func(name string) gin.HandlerFunc { return func(*gin.Context) { steps = append(steps, name) } }
		r := gin.New()
		r.Use(step("before"), func(c *gin.Context) {
			test.guard(c)
			steps = append(steps, "guard returned")
			if c.IsAborted() {
				return
			}
			user := "guest"
			if token, ok := ginadapter.From(c); ok {
				user = token.Principal.UserName
			}
			c.Set("user", user)
			steps = append(steps, "set "+user)
			c.Next()
			steps = append(steps, "after Next")
		}, step("after"))
		r.GET("/", func(c *gin.Context) {
			steps = append(steps, "handler of "+c.GetString("user"))
			c.String(http.StatusOK, c.GetString("user"))
		})
		want := []string{"before", "guard returned", "set " + test.user, "after", "handler of " + test.user, "after Next"}
		if test.user == "" {
			want = want[:2]
		}
		if w := get(r, "/", test.accessToken); w.Code != test.status || !slices.Equal(steps, want) || test.status == 200 && w.Body.String() != test.user {
			t.Errorf("%s: got %d %s after the steps %q, want %d after %q", name, w.Code, w.Body, steps, test.status, want)
		}
	}
}

// A plugin has a func that authenticates a request, and that may refuse it for a
// reason of the host after the guard let it through.
func TestPluginDecidesAfterAGuard(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	guard := ginadapter.RequireBearer(h.Service)
	unpaid := false
	authenticate := func(c *gin.Context) (user string, ok bool) {
		if guard(c); c.IsAborted() {
			return "", false
		}
		if unpaid {
			c.AbortWithStatusJSON(http.StatusPaymentRequired, gin.H{"error": "unpaid"})
			return "", false
		}
		token, ok := ginadapter.From(c)
		return token.Principal.UserName, ok
	}
	r := gin.New()
	r.GET("/", func(c *gin.Context) {
		if user, ok := authenticate(c); ok {
			c.Set("user", user)
		}
	}, func(c *gin.Context) { c.String(http.StatusOK, c.GetString("user")) })
	for _, test := range []struct {
		accessToken string
		unpaid      bool
		want        string
	}{
		{h.accessToken, false, "alice"},
		{h.accessToken, true, `{"error":"unpaid"}`},
		{"", true, `{"Message":"Authorization has been denied for this request."}`},
	} {
		unpaid = test.unpaid
		if w := get(r, "/", test.accessToken); w.Body.String() != test.want {
			t.Errorf("with the token %q, unpaid %v: got %d %s, want %s", test.accessToken, test.unpaid, w.Code, w.Body, test.want)
		}
	}
}

// A middleware behind a guard may abort the chain. Its answer is the only one.
func TestMiddlewareAbortsAfterAGuard(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	r := gin.New()
	r.GET("/", ginadapter.RequireBearer(h.Service), func(c *gin.Context) {
		token, _ := ginadapter.From(c)
		c.String(http.StatusTeapot, token.Principal.UserName)
		c.Abort()
	}, ginadapter.RequireRole(h.Service, "Reader"), func(*gin.Context) { t.Error("the handler was called after Abort") })
	if w := get(r, "/", h.accessToken); w.Code != http.StatusTeapot || w.Body.String() != "alice" {
		t.Errorf("got %d %s, want 418 alice", w.Code, w.Body)
	}
	if w := get(r, "/", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("without a token: got %d %s, want 401", w.Code, w.Body)
	}
}

// The guards of nested groups look a token up once and report the result once,
// whether it is valid or not. So does a guard that a middleware calls, and a chain
// that Gin enters again by HandleContext.
func TestGuardsOfOneRequestLookUpAndReportOnce(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	unknown := h.unknown(t)
	who := func(c *gin.Context) {
		token, _ := ginadapter.From(c)
		c.String(http.StatusOK, token.Principal.UserName)
	}
	guard := ginadapter.RequireBearer(h.Service)
	r := gin.New()
	outer := r.Group("/outer", ginadapter.Optional(h.Service))
	outer.GET("", who)
	api := outer.Group("/api", ginadapter.RequireBearer(h.Service))
	api.GET("", who)
	api.GET("/reader", ginadapter.RequireRole(h.Service, "Reader"), who)
	api.GET("/writer", ginadapter.RequireRole(h.Service, "Writer"), who)
	outer.GET("/called", func(c *gin.Context) { guard(c) }, who)
	outer.GET("/guests", ginadapter.AllowGuests(h.Service), guard, who)
	outer.GET("/again", func(c *gin.Context) {
		c.Request.URL.Path = "/outer/api/reader"
		r.HandleContext(c)
		c.Abort() // Gin before 1.11 would go on with the handlers of the other route
	})
	for _, test := range []struct {
		path, accessToken, body string
		status, finds           int
		events                  []string
	}{
		{"/outer", h.accessToken, "alice", 200, 1, []string{"validated"}},
		{"/outer/api", h.accessToken, "alice", 200, 1, []string{"validated"}},
		{"/outer/api/reader", h.accessToken, "alice", 200, 1, []string{"validated"}},
		{"/outer/api/writer", h.accessToken, "", 403, 1, []string{"validated", "refused role"}},
		{"/outer/called", h.accessToken, "alice", 200, 1, []string{"validated"}},
		{"/outer/guests", h.accessToken, "alice", 200, 1, []string{"validated"}},
		{"/outer/again", h.accessToken, "alice", 200, 1, []string{"validated"}},
		{"/outer", unknown, "", 200, 1, []string{"refused invalid"}},
		{"/outer/api", unknown, "", 401, 1, []string{"refused invalid"}},
		{"/outer/api/writer", unknown, "", 401, 1, []string{"refused invalid"}},
		{"/outer/called", unknown, "", 401, 1, []string{"refused invalid"}},
		{"/outer/guests", unknown, "", 401, 1, []string{"refused invalid"}},
		{"/outer/again", unknown, "", 401, 1, []string{"refused invalid"}},
		{"/outer/guests", "", "", 401, 0, []string{"refused no_credentials"}},
		{"/outer/again", "", "", 401, 0, []string{"refused no_credentials"}},
		{"/outer/api", "a b", "", 400, 0, []string{"refused malformed"}},
	} {
		w := get(r, test.path, test.accessToken)
		finds, events := h.did()
		if w.Code != test.status || test.status == 200 && w.Body.String() != test.body || finds != test.finds || !slices.Equal(events, test.events) {
			t.Errorf("%s with the token %q: got %d %s after %d look-ups, with the events %q; want %d %s, %d, %q", test.path, test.accessToken,
				w.Code, w.Body, finds, events, test.status, test.body, test.finds, test.events)
		}
	}
}

// A guard may protect the handler of unknown routes.
func TestGuardInFrontOfNoRoute(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	r := gin.New()
	r.NoRoute(ginadapter.RequireBearer(h.Service), func(c *gin.Context) {
		token, _ := ginadapter.From(c)
		c.String(http.StatusNotFound, "nothing here, "+token.Principal.UserName)
	})
	for accessToken, want := range map[string]string{
		h.accessToken: "nothing here, alice", "": `{"Message":"Authorization has been denied for this request."}`,
	} {
		if w := get(r, "/unknown", accessToken); w.Body.String() != want || (w.Code == 404) != (accessToken != "") || accessToken == "" && w.Code != 401 {
			t.Errorf("with the token %q: got %d %s, want %s", accessToken, w.Code, w.Body, want)
		}
	}
}

// RenderErrors also writes the responses of a guard that a middleware calls. The
// same middleware may call RenderErrors.
func TestRenderErrorsOfACalledGuard(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	guard := ginadapter.RequireBearer(h.Service)
	render := ginadapter.RenderErrors(func(c *gin.Context, e *tokenauth.ErrorResponse) { c.String(e.Status, "refused") })
	for name, middleware := range map[string][]gin.HandlerFunc{
		"RenderErrors before the middleware": {render, func(c *gin.Context) { guard(c) }},
		"RenderErrors in the middleware":     {func(c *gin.Context) { render(c); guard(c) }},
	} {
		aborted := false
		r := gin.New()
		r.Use(func(c *gin.Context) {
			c.Next()
			aborted = c.IsAborted()
		})
		r.Use(middleware...)
		r.GET("/", func(*gin.Context) { t.Error("the handler was called for a refused request") })
		if w := get(r, "/", ""); w.Code != 401 || w.Body.String() != "refused" || w.Header().Get("WWW-Authenticate") != `Bearer realm="api"` || !aborted {
			t.Errorf("%s: got %d %s with the headers %v, aborted %v; want 401 refused with a challenge, aborted", name, w.Code, w.Body, w.Header(), aborted)
		}
	}
}

// A middleware in front of a guard may pass a copy of the context to a goroutine,
// as Gin advises. The guard does not change the request of the copy, which the
// goroutine reads at the same time.
func TestGuardLeavesTheRequestOfACopyAlone(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	var running sync.WaitGroup
	r := gin.New()
	r.Use(func(c *gin.Context) {
		copied := c.Copy()
		running.Go(func() {
			if _, ok := ginadapter.From(copied); ok || copied.Request.URL.Path != "/" {
				t.Errorf("the copy has a token, or the request %+v", copied.Request)
			}
		})
		c.Next()
		if _, ok := ginadapter.From(copied); ok || copied.Request == c.Request {
			t.Error("the guard changed the request of a copy")
		}
	})
	r.POST("/", ginadapter.RequireBearer(h.Service), func(c *gin.Context) {
		if _, ok := ginadapter.From(c); !ok {
			t.Error("the handler got no token")
		}
	})
	for range 20 {
		request := httptest.NewRequest("POST", "/", strings.NewReader("{}"))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+h.accessToken)
		r.ServeHTTP(httptest.NewRecorder(), request)
	}
	running.Wait()
}

// A test of a host may send the same request twice. The second one is a new
// request: its token may have ended since.
func TestRequestSentAgainIsValidatedAgain(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	r := gin.New()
	r.GET("/", ginadapter.Optional(h.Service), ginadapter.RequireBearer(h.Service), func(c *gin.Context) { c.Status(http.StatusNoContent) })
	request := httptest.NewRequest("GET", "/", nil)
	request.Header.Set("Authorization", "Bearer "+h.accessToken)
	for i, want := range []int{204, 204, 401, 401} {
		if i == 2 {
			if err := h.Revoke(t.Context(), h.accessToken); err != nil {
				t.Fatal(err)
			}
		}
		w := httptest.NewRecorder()
		if r.ServeHTTP(w, request); w.Code != want {
			t.Errorf("request %d: got %d, want %d", i+1, w.Code, want)
		}
	}
}
