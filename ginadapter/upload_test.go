package ginadapter_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
)

// A large upload becomes a temporary file when a handler parses the form. The
// server removes the file after the request, whatever guards are in front of the
// handler, and even if the handler panics.
func TestUploadsBehindGuardsLeaveNoFile(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	bearer, optional := ginadapter.RequireBearer(h.Service), ginadapter.Optional(h.Service)
	called := func(c *gin.Context) { bearer(c) }
	for name, guards := range map[string][]gin.HandlerFunc{
		"no guard":                       nil,
		"one guard":                      {bearer},
		"a guest":                        {ginadapter.AllowGuests(h.Service)},
		"two guards":                     {optional, bearer},
		"three guards":                   {bearer, optional, ginadapter.RequireRole(h.Service, "Reader")},
		"a called guard":                 {called},
		"a called guard and another":     {called, ginadapter.RequireRole(h.Service, "Reader")},
		"a guard of net/http around Gin": {bearer, nil},
		"guards of net/http around Gin":  {nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var handler http.Handler
			files := new(files)
			engine := gin.New()
			engine.MaxMultipartMemory = 1
			engine.Use(gin.CustomRecoveryWithWriter(io.Discard, func(c *gin.Context, _ any) { c.Status(http.StatusInternalServerError) }))
			handler = engine
			for _, guard := range guards {
				if guard == nil {
					handler = h.RequireBearer(h.Optional(handler))
				} else {
					engine.Use(guard)
				}
			}
			engine.POST("/", func(c *gin.Context) {
				files.keep(t, c)
				if c.Query("panic") != "" {
					panic("a bug in the handler")
				}
			})
			server := httptest.NewUnstartedServer(handler)
			server.EnableHTTP2 = true
			server.StartTLS()
			defer server.Close()
			http1 := server.Client().Transport.(*http.Transport).Clone()
			http1.ForceAttemptHTTP2 = false
			http1.TLSClientConfig.NextProtos = []string{"http/1.1"}
			defer http1.CloseIdleConnections()
			for major, client := range map[int]*http.Client{1: {Transport: http1}, 2: server.Client()} {
				for query, status := range map[string]int{"": 200, "?panic=1": 500} {
					body, contentType := upload(t)
					r, err := http.NewRequest("POST", server.URL+"/"+query, body)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Content-Type", contentType)
					if name != "a guest" {
						r.Header.Set("Authorization", "Bearer "+h.accessToken)
					}
					response, err := client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					io.Copy(io.Discard, response.Body)
					response.Body.Close()
					if response.StatusCode != status || response.ProtoMajor != major {
						t.Errorf("got %s by HTTP/%d, want %d by HTTP/%d", response.Status, response.ProtoMajor, status, major)
					}
				}
			}
			server.Close() // waits until the requests have ended
			if len(files.names) != 4 {
				t.Errorf("the handler got %d uploads, want 4", len(files.names))
			}
			for _, file := range files.names {
				if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the upload is still at %s (%v), want it to be removed", file, err)
					os.Remove(file)
				}
			}
		})
	}
}

// files are the names of the temporary files of uploads.
type files struct {
	mu    sync.Mutex
	names []string
}

func (f *files) keep(t *testing.T, c *gin.Context) {
	header, err := c.FormFile("file")
	if err != nil {
		t.Error(err)
		return
	}
	file, err := header.Open()
	if err != nil {
		t.Error(err)
		return
	}
	defer file.Close()
	onDisk, ok := file.(*os.File)
	if !ok {
		t.Errorf("the upload is a %T, want a file on the disk", file)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names = append(f.names, onDisk.Name())
}

// upload returns a form with a file of a megabyte.
func upload(t *testing.T) (body io.Reader, contentType string) {
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	file, err := form.CreateFormFile("file", "big")
	if err == nil {
		_, err = file.Write(make([]byte, 1<<20))
	}
	if err = errors.Join(err, form.Close()); err != nil {
		t.Fatal(err)
	}
	return &b, form.FormDataContentType()
}
