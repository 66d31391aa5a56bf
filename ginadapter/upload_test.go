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
	"runtime"
	"sync"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
)

// A large upload becomes a temporary file when a handler parses the form. The
// server removes the file after the request, whatever guards are in front of the
// handler, and even if the handler panics. But by HTTP/2, the server of Go 1.27 removes
// no file, with or without guards.
func TestUploadsBehindGuardsLeaveNoFile(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	removed := map[int]bool{1: true, 2: serverRemovesUploads(t)}
	if !removed[2] {
		t.Logf("the server of %s removes no uploads by HTTP/2", runtime.Version())
	}
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
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				handler.ServeHTTP(w, r)
				if r.MultipartForm == nil || len(r.MultipartForm.File["file"]) != 1 { // which the server removes
					t.Errorf("the server's request by HTTP/%d has no upload", r.ProtoMajor)
				}
			}))
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
				if !removed[file.major] {
					os.Remove(file.name)
					continue
				}
				if _, err := os.Stat(file.name); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the upload by HTTP/%d is still at %s (%v), want it to be removed", file.major, file.name, err)
					os.Remove(file.name)
				}
			}
		})
	}
}

// serverRemovesUploads reports whether an HTTP/2 server removes the file of an upload.
func serverRemovesUploads(t *testing.T) bool {
	t.Helper()
	var name string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1); err != nil {
			t.Error(err)
			return
		}
		name = nameOf(t, r.MultipartForm.File["file"][0])
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	body, contentType := upload(t)
	response, err := server.Client().Post(server.URL, contentType, body)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	server.Close() // waits until the request has ended
	defer os.Remove(name)
	_, err = os.Stat(name)
	return errors.Is(err, fs.ErrNotExist)
}

// files are the temporary files of uploads.
type files struct {
	mu    sync.Mutex
	names []temporaryFile
}

type temporaryFile struct {
	name  string
	major int // of the HTTP version
}

func (f *files) keep(t *testing.T, c *gin.Context) {
	header, err := c.FormFile("file")
	if err != nil {
		t.Error(err)
		return
	}
	name := nameOf(t, header)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names = append(f.names, temporaryFile{name, c.Request.ProtoMajor})
}

// nameOf returns the name of the file of an upload.
func nameOf(t *testing.T, header *multipart.FileHeader) string {
	file, err := header.Open()
	if err != nil {
		t.Error(err)
		return ""
	}
	defer file.Close()
	onDisk, ok := file.(*os.File)
	if !ok {
		t.Errorf("the upload is a %T, want a file on the disk", file)
		return ""
	}
	return onDisk.Name()
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
