package ginadapter_test

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A response with a status below 400 has none of the headers of an error: they
// would make clients and proxies ask for a password, or wait. With an error
// status they stay.
func TestRenderErrorsKeepsErrorHeadersOnlyWithErrorStatus(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		render func(*gin.Context, *tokenauth.ErrorResponse)
		status int // 0 means that of the error
	}{
		{"an envelope", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.JSON(200, gin.H{"code": 7}) }, 200},
		{"an aborting envelope", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.AbortWithStatusJSON(200, gin.H{"code": 7}) }, 200},
		{"an envelope without a body", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.Status(204) }, 204},
		{"an envelope that is flushed", func(c *gin.Context, _ *tokenauth.ErrorResponse) {
			c.Status(200)
			c.Writer.Flush()
		}, 200},
		{"a redirect", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.Redirect(http.StatusSeeOther, "/login") }, 303},
		{"the standard body with 200", func(c *gin.Context, e *tokenauth.ErrorResponse) {
			e.Status = 200
			e.ServeHTTP(c.Writer, c.Request)
		}, 200},
		{"early hints and an envelope", func(c *gin.Context, _ *tokenauth.ErrorResponse) {
			c.Status(103)
			c.JSON(200, gin.H{"code": 7})
		}, 200},
		{"200, then the status of the error", func(c *gin.Context, e *tokenauth.ErrorResponse) {
			c.Status(200)
			c.JSON(e.Status, gin.H{"code": 7})
		}, 0},
		{"the status of the error, then 200", func(c *gin.Context, e *tokenauth.ErrorResponse) {
			c.Status(e.Status)
			c.JSON(200, gin.H{"code": 7})
		}, 200},
		{"200 after the body", func(c *gin.Context, e *tokenauth.ErrorResponse) {
			c.JSON(e.Status, gin.H{"code": 7})
			c.Status(200)
		}, 0},
		{"nothing", func(*gin.Context, *tokenauth.ErrorResponse) {}, 0},
		{"a body without a status", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.Writer.WriteString("no") }, 0},
		{"another error", func(c *gin.Context, _ *tokenauth.ErrorResponse) { c.JSON(400, gin.H{"code": 7}) }, 400},
	} {
		for wrapper, wrap := range map[string]gin.HandlerFunc{
			"plain": func(*gin.Context) {},
			"gzip": func(c *gin.Context) {
				c.Header("Content-Encoding", "gzip")
				compressed := gzip.NewWriter(c.Writer)
				c.Writer = gzipWriter{c.Writer, compressed}
				c.Next()
				compressed.Close()
			},
		} {
			t.Run(test.name+"/"+wrapper, func(t *testing.T) {
				t.Parallel()
				storage := new(failingStore)
				auth, err := tokenauth.New(storage, rejectAll{}, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				issued, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: "17"}, nil)
				if err != nil {
					t.Fatal(err)
				}
				r := gin.New()
				r.GET("/", wrap, ginadapter.RenderErrors(test.render), ginadapter.RequireBearer(auth))
				server := httptest.NewServer(r)
				defer server.Close()
				for accessToken, status := range map[string]int{"": 401, issued.AccessToken.Reveal(): 503} {
					r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
					if err != nil {
						t.Fatal(err)
					}
					if accessToken != "" {
						r.Header.Set("Authorization", "Bearer "+accessToken)
					}
					response, err := server.Client().Transport.RoundTrip(r)
					if err != nil {
						t.Fatal(err)
					}
					response.Body.Close()
					want := cmp.Or(test.status, status)
					challenge, retry := response.Header.Get("WWW-Authenticate"), response.Header.Get("Retry-After")
					if response.StatusCode != want || (challenge != "") != (want >= 400 && status == 401) || (retry != "") != (want >= 400 && status == 503) {
						t.Errorf("a %d is answered %s with WWW-Authenticate %q and Retry-After %q, want %d", status, response.Status, challenge, retry, want)
					}
					if response.Header.Get("Cache-Control") != "no-store" || response.Header.Get("Vary") != "Authorization" {
						t.Errorf("the headers are %v, want Cache-Control: no-store and Vary: Authorization", response.Header)
					}
				}
			})
		}
	}
}

// A failingStore cannot look up tokens.
type failingStore struct{ memory.Store }

func (*failingStore) Find(context.Context, tokenauth.Slot) (tokenauth.Token, error) {
	return tokenauth.Token{}, errors.New("connection refused")
}

// A gzipWriter compresses a response, as middleware of a host does.
type gzipWriter struct {
	gin.ResponseWriter
	body io.Writer
}

func (w gzipWriter) Write(b []byte) (int, error)       { return w.body.Write(b) }
func (w gzipWriter) WriteString(s string) (int, error) { return io.WriteString(w.body, s) }

// A host's middleware may call what RenderErrors returns as a func, before a guard,
// and so be a single middleware.
func TestRenderErrorsInOwnMiddleware(t *testing.T) {
	t.Parallel()
	auth, err := tokenauth.New(new(memory.Store), nil, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	render := ginadapter.RenderErrors(func(c *gin.Context, e *tokenauth.ErrorResponse) {
		c.JSON(http.StatusOK, gin.H{"code": e.Status})
	})
	guard := ginadapter.RequireBearer(auth)
	r := gin.New()
	r.GET("/", func(c *gin.Context) {
		render(c)
		guard(c)
		if !c.IsAborted() {
			t.Error("the guard let a request without a token through")
		}
	}, func(*gin.Context) { t.Error("the handler was called") })
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusOK || w.Body.String() != `{"code":401}` || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("got %d %s with %v, want the envelope", w.Code, w.Body, w.Header())
	}
}
