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

// nobody is an Authenticator that rejects everybody. These tests issue their
// tokens themselves.
type nobody struct{}

func (nobody) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	return tokenauth.Principal{}, tokenauth.ErrRejected
}

// get requests a path with an access token, or without one if it is empty.
func get(h http.Handler, path, accessToken string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", path, nil)
	if accessToken != "" {
		r.Header.Set("Authorization", "Bearer "+accessToken)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Gin would redirect /Token/ to /Token, and the client would send its password
// again.
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
					t.Errorf("%s %s answers %d, want one of %v", method, path+suffix, w.Code, statuses)
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
		"RequireRole of another role":        {ginadapter.RequireRole(auth, "Administrator"), accessToken, 403},
		"RequireClient of another client":    {ginadapter.RequireClient(auth, "web"), accessToken, 403},
		"RequireBearer":                      {ginadapter.RequireBearer(auth), accessToken, 204},
		"RequireRole of one of the roles":    {ginadapter.RequireRole(auth, "Administrator", "Reader"), accessToken, 204},
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
			t.Errorf("%s: answers %d, want %d; handler called: %v, chain aborted: %v", name, w.Code, test.status, reached, aborted)
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
			t.Errorf("From returns %v, %v; FromContext returns %v, %v", token, ok, other, otherOK)
		}
		c.String(200, token.Principal.UserName)
	})
	for accessToken, name := range map[string]string{accessToken: "alice", "": ""} {
		if w := get(r, "/", accessToken); w.Body.String() != name {
			t.Errorf("with token %q the user is %q, want %q", accessToken, w.Body, name)
		}
	}
}

// The adapter sets the headers, the host's function writes status and body, and
// Options.RenderError is not called.
func TestRenderErrorsKeepsTheHeaders(t *testing.T) {
	t.Parallel()
	auth, err := tokenauth.New(new(memory.Store), nobody{}, &tokenauth.Options{
		Logger: slog.New(slog.DiscardHandler),
		RenderError: func(http.ResponseWriter, *http.Request, *tokenauth.ErrorResponse) {
			t.Error("Options.RenderError is called")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	r.Use(ginadapter.RenderErrors(func(c *gin.Context, f *tokenauth.ErrorResponse) { c.String(f.Status, "refused: "+f.Code) }))
	r.GET("/", ginadapter.RequireBearer(auth), func(*gin.Context) { t.Error("the handler is called") })
	w := get(r, "/", "nonsense")
	challenge := `Bearer realm="api", error="invalid_token", error_description="The access token is invalid."`
	if w.Code != 401 || w.Body.String() != "refused: invalid_token" || w.Header().Get("WWW-Authenticate") != challenge || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("answers %d %s, %v", w.Code, w.Body, w.Header())
	}
}

// However little RenderErrors is made to write, the client learns that it was
// refused.
func TestRefusalKeepsItsStatusWhateverIsRendered(t *testing.T) {
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
		{"nothing", func(*gin.Context, *tokenauth.ErrorResponse) {}, 401, ""},
		{"no func", nil, 401, standard},
		{"headers", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.Header("X-Own", "1") }, 401, ""},
		{"a body", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.Writer.WriteString("no") }, 401, "no"},
		{"a body of bytes", func(c *gin.Context, _ *tokenauth.ErrorResponse) { io.Copy(c.Writer, strings.NewReader("no")) }, 401, "no"},
		{"early hints", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.Status(103) }, 401, ""},
		{"early hints and a body", func(c *gin.Context, _ *tokenauth.ErrorResponse) {
			c.Writer.WriteHeader(103)
			c.Writer.WriteString("no")
		}, 401, "no"},
		{"a flush", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.Writer.Flush() }, 401, ""},
		{"an error for a middleware in front", func(c *gin.Context, e *tokenauth.ErrorResponse) { c.Error(e) }, 401, "by the middleware"},
		{"a status of its own", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.String(404, "gone") }, 404, "gone"},
		{"a status only", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.Status(404) }, 404, ""},
		{"the standard answer", func(c *gin.Context, e *tokenauth.ErrorResponse) { e.ServeHTTP(c.Writer, c.Request) }, 401, standard},
		{"a panic", func(c *gin.Context, _ *tokenauth.ErrorResponse) {
			c.Header("Content-Encoding", "gzip")
			panic("a bug")
		}, 401, standard},
		{"another connection", func(c *gin.Context, _ *tokenauth.ErrorResponse) {
			conn, _, err := c.Writer.Hijack()
			teapot(conn, err)
		}, 418, "tea"},
		{"another connection by the controller", func(c *gin.Context, _ *tokenauth.ErrorResponse) {
			conn, _, err := http.NewResponseController(c.Writer).Hijack()
			teapot(conn, err)
		}, 418, "tea"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			auth, err := tokenauth.New(new(memory.Store), nobody{}, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
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
					t.Errorf("the writer is a %T", c.Writer)
				}
				if len(c.Errors) > 0 {
					c.String(-1, "by the middleware") // Gin's way of keeping the status
				}
			})
			r.Use(ginadapter.RenderErrors(test.render))
			r.GET("/", ginadapter.RequireBearer(auth), func(*gin.Context) { t.Error("the handler is called") })
			server := httptest.NewServer(r)
			defer server.Close()
			response, err := server.Client().Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if response.StatusCode != test.status || string(body) != test.body || err != nil {
				t.Errorf("answered %s %q, %v", response.Status, body, err)
			}
			if test.status == 401 && (response.Header.Get("WWW-Authenticate") != `Bearer realm="api"` || response.Header.Get("Cache-Control") != "no-store") {
				t.Errorf("with the headers %v", response.Header)
			}
			if (panicked != nil) != (test.name == "a panic") {
				t.Errorf("the host recovers %v", panicked)
			}
		})
	}
}

// What a handler uploads to files, net/http removes when it is done with the
// request, if it finds them in its own: the one that a guard goes on with is a
// copy.
func TestGuardsLeaveNoFiles(t *testing.T) {
	t.Parallel()
	auth, err := tokenauth.New(new(memory.Store), nobody{}, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	grant, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: "17"}, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, guards := range map[string][]gin.HandlerFunc{
		"one": {ginadapter.RequireBearer(auth)},
		"two": {ginadapter.Optional(auth), ginadapter.RequireBearer(auth)},
	} {
		for _, panics := range []bool{false, true} {
			engine := gin.New()
			engine.MaxMultipartMemory = 1
			engine.Use(gin.CustomRecoveryWithWriter(io.Discard, func(*gin.Context, any) {}))
			engine.POST("/upload", append(guards, func(c *gin.Context) {
				if _, err := c.FormFile("file"); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if panics {
					panic("a bug of the host's")
				}
			})...)
			r := httptest.NewRequest("POST", "/upload", strings.NewReader("--x\r\nContent-Disposition: form-data; name=file; filename=f\r\n\r\ntext\r\n--x--\r\n"))
			r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
			r.Header.Set("Authorization", "Bearer "+grant.AccessToken.Reveal())
			engine.ServeHTTP(httptest.NewRecorder(), r)
			if r.MultipartForm == nil || len(r.MultipartForm.File["file"]) != 1 {
				t.Errorf("%s: the server does not know of the file", name)
			} else if err := r.MultipartForm.RemoveAll(); err != nil {
				t.Error(err)
			}
		}
	}
}
