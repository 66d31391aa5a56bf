package ginadapter_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func init() {
	gin.SetMode(gin.ReleaseMode)
	gin.DefaultWriter, gin.DefaultErrorWriter = io.Discard, io.Discard
}

// rejectAll is an Authenticator that rejects every sign-in. These tests issue
// tokens without signing in.
type rejectAll struct{}

func (rejectAll) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	return tokenauth.Principal{}, tokenauth.ErrRejected
}

// get sends a GET request. An empty accessToken means no Authorization header.
func get(h http.Handler, path, accessToken string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", path, nil)
	if accessToken != "" {
		r.Header.Set("Authorization", "Bearer "+accessToken)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// By default Gin redirects /Token/ to /Token, and the client would send its
// password a second time.
func TestMountAnswersTrailingSlashWith404(t *testing.T) {
	t.Parallel()
	auth, _ := newAuth()
	r := gin.New()
	for _, path := range ginadapter.Mount(r, auth).Token {
		for _, method := range []string{"GET", "POST", "PUT"} {
			for suffix, statuses := range map[string][]int{"": {400, 405}, "/": {404}} {
				w := httptest.NewRecorder()
				r.ServeHTTP(w, httptest.NewRequest(method, path+suffix, nil))
				if !slices.Contains(statuses, w.Code) || w.Header().Get("Location") != "" {
					t.Errorf("%s %s: got %d with Location %q, want one of %v without Location", method, path+suffix, w.Code, w.Header().Get("Location"), statuses)
				}
			}
		}
	}
}

func TestGuardsAbortTheChainWhenTheyRefuse(t *testing.T) {
	t.Parallel()
	auth, accessToken := newAuth()
	for name, test := range map[string]struct {
		guard       gin.HandlerFunc
		accessToken string
		status      int
	}{
		"RequireBearer without a token":      {ginadapter.RequireBearer(auth), "", 401},
		"RequireRole without a token":        {ginadapter.RequireRole(auth, "Reader"), "", 401},
		"RequireRole with another role":      {ginadapter.RequireRole(auth, "Administrator"), accessToken, 403},
		"RequireClient with another client":  {ginadapter.RequireClient(auth, "web"), accessToken, 403},
		"RequireBearer with a valid token":   {ginadapter.RequireBearer(auth), accessToken, 204},
		"RequireRole with one of the roles":  {ginadapter.RequireRole(auth, "Administrator", "Reader"), accessToken, 204},
		"AllowGuests without a token":        {ginadapter.AllowGuests(auth), "", 204},
		"AllowGuests with a token":           {ginadapter.AllowGuests(auth), accessToken, 204},
		"AllowGuests with a malformed token": {ginadapter.AllowGuests(auth), "nonsense", 401},
		"Optional without a token":           {ginadapter.Optional(auth), "", 204},
		"Optional with a token":              {ginadapter.Optional(auth), accessToken, 204},
		"Optional with a malformed token":    {ginadapter.Optional(auth), "nonsense", 204},
		"RequireBearer with a malformed one": {ginadapter.RequireBearer(auth), "nonsense", 401},
	} {
		reached, aborted := false, false
		r := gin.New()
		r.Use(func(c *gin.Context) { c.Next(); aborted = c.IsAborted() }, test.guard)
		r.GET("/", func(c *gin.Context) { reached = true; c.Status(204) })
		w := get(r, "/", test.accessToken)
		if passes := test.status == 204; w.Code != test.status || reached != passes || aborted == passes {
			t.Errorf("%s: got %d, want %d; handler called: %v, want %v; chain aborted: %v, want %v", name, w.Code, test.status, reached, passes, aborted, !passes)
		}
	}
}

func TestFromReturnsTheTokenOfTheRequestContext(t *testing.T) {
	t.Parallel()
	auth, accessToken := newAuth()
	r := gin.New()
	r.GET("/", ginadapter.Optional(auth), func(c *gin.Context) {
		token, ok := ginadapter.From(c)
		other, otherOK := tokenauth.FromContext(c.Request.Context())
		if ok != otherOK || token.Digest != other.Digest || ok == token.Digest.IsZero() {
			t.Errorf("From returns %v, %v; FromContext returns %v, %v; want the same", token, ok, other, otherOK)
		}
		c.String(200, token.Principal.UserName)
	})
	for accessToken, name := range map[string]string{accessToken: "alice", "": ""} {
		if w := get(r, "/", accessToken); w.Body.String() != name {
			t.Errorf("with access token %q: got user name %q, want %q", accessToken, w.Body, name)
		}
	}
}

// The adapter sets the headers, and the func given to RenderErrors writes status
// and body. The guard does not call Options.RenderError.
func TestRenderErrorsKeepsTheHeaders(t *testing.T) {
	t.Parallel()
	auth, err := tokenauth.New(new(memory.Store), rejectAll{}, &tokenauth.Options{
		Logger: slog.New(slog.DiscardHandler),
		RenderError: func(http.ResponseWriter, *http.Request, *tokenauth.ErrorResponse) {
			t.Error("Options.RenderError was called in spite of RenderErrors")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	r.Use(ginadapter.RenderErrors(func(c *gin.Context, f *tokenauth.ErrorResponse) { c.String(f.Status, "refused: "+f.Code) }))
	r.GET("/", ginadapter.RequireBearer(auth), func(*gin.Context) { t.Error("the handler was called for a refused request") })
	w := get(r, "/", "nonsense")
	challenge := `Bearer realm="api", error="invalid_token", error_description="The access token is invalid."`
	if w.Code != 401 || w.Body.String() != "refused: invalid_token" || w.Header().Get("WWW-Authenticate") != challenge || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %q with the headers %v, want 401 %q with the challenge %s", w.Code, w.Body, w.Header(), "refused: invalid_token", challenge)
	}
}

// A func given to RenderErrors may write a body without a status, write nothing,
// or panic. The client still gets the status of the refusal.
func TestRenderErrorsKeepsTheStatusOfRefusals(t *testing.T) {
	t.Parallel()
	const standard = `{"Message":"Authorization has been denied for this request."}`
	teapot := func(conn net.Conn, err error) {
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 418 I'm a teapot\r\nContent-Length: 3\r\nConnection: close\r\n\r\ntea")
	}
	for _, test := range []struct {
		name   string
		render func(*gin.Context, *tokenauth.ErrorResponse)
		status int
		body   string
	}{
		{"write nothing", func(*gin.Context, *tokenauth.ErrorResponse) {}, 401, ""},
		{"nil func", nil, 401, standard},
		{"headers only", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.Header("X-Own", "1") }, 401, ""},
		{"string body", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.Writer.WriteString("no") }, 401, "no"},
		{"body of bytes", func(c *gin.Context, _ *tokenauth.ErrorResponse) { io.Copy(c.Writer, strings.NewReader("no")) }, 401, "no"},
		{"early hints", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.Status(103) }, 401, ""},
		{"early hints and a body", func(c *gin.Context, _ *tokenauth.ErrorResponse) {
			c.Writer.WriteHeader(103)
			c.Writer.WriteString("no")
		}, 401, "no"},
		{"flush", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.Writer.Flush() }, 401, ""},
		{"error that a middleware in front writes", func(c *gin.Context, e *tokenauth.ErrorResponse) { c.Error(e) }, 401, "by the middleware"},
		{"another status with a body", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.String(404, "gone") }, 404, "gone"},
		{"another status without a body", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.Status(404) }, 404, ""},
		{"standard answer", func(c *gin.Context, e *tokenauth.ErrorResponse) { e.ServeHTTP(c.Writer, c.Request) }, 401, standard},
		{"panic", func(c *gin.Context, _ *tokenauth.ErrorResponse) {
			c.Header("Content-Encoding", "gzip")
			panic("a bug")
		}, 401, standard},
		{"hijacked connection", func(c *gin.Context, _ *tokenauth.ErrorResponse) {
			conn, _, err := c.Writer.Hijack()
			teapot(conn, err)
		}, 418, "tea"},
		{"connection hijacked by ResponseController", func(c *gin.Context, _ *tokenauth.ErrorResponse) {
			conn, _, err := http.NewResponseController(c.Writer).Hijack()
			teapot(conn, err)
		}, 418, "tea"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			auth, err := tokenauth.New(new(memory.Store), rejectAll{}, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			var panicked any
			r := gin.New()
			r.Use(gin.CustomRecoveryWithWriter(io.Discard, func(c *gin.Context, p any) {
				panicked = p
				c.AbortWithStatus(500)
			}))
			r.Use(func(c *gin.Context) {
				writer := c.Writer
				c.Next()
				if c.Writer != writer {
					t.Errorf("after the guard, Context.Writer is a %T, want the writer from before it", c.Writer)
				}
				if len(c.Errors) > 0 {
					c.String(-1, "by the middleware") // -1 makes Gin keep the status
				}
			})
			r.Use(ginadapter.RenderErrors(test.render))
			r.GET("/", ginadapter.RequireBearer(auth), func(*gin.Context) { t.Error("the handler was called for a refused request") })
			server := httptest.NewServer(r)
			defer server.Close()
			response, err := server.Client().Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if response.StatusCode != test.status || string(body) != test.body || err != nil {
				t.Errorf("got %s %q, %v, want %d %q", response.Status, body, err, test.status, test.body)
			}
			if test.status == 401 && (response.Header.Get("WWW-Authenticate") != `Bearer realm="api"` || response.Header.Get("Cache-Control") != "no-store") {
				t.Errorf("the headers of the refusal are %v, want WWW-Authenticate and Cache-Control: no-store", response.Header)
			}
			if (panicked != nil) != (test.name == "panic") {
				t.Errorf("the recovery middleware got the panic %v", panicked)
			}
		})
	}
}
