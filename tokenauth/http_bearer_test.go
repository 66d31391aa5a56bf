package tokenauth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// net/http removes the uploaded files of a request when the handler returns,
// but only if it finds them in its own Request. A guard passes on a copy, so it
// must copy them back.
func TestGuardsLeaveNoFiles(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(scripted), &staff{}, nil)
	accessToken := issue(t, auth, alice(), "web")
	for name, guard := range map[string]func(http.Handler) http.Handler{
		"bearer":   auth.RequireBearer,
		"role":     auth.RequireRole("Staff"),
		"client":   auth.RequireClient("web"),
		"optional": auth.Optional,
		"two":      func(next http.Handler) http.Handler { return auth.Optional(auth.RequireRole("Staff")(next)) },
	} {
		for _, panics := range []bool{false, true} {
			r := upload(accessToken)
			h := guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, known := tokenauth.FromContext(r.Context()); !known {
					t.Errorf("%s: FromContext found no token", name)
				}
				if err := r.ParseMultipartForm(1); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if panics {
					panic(http.ErrAbortHandler)
				}
			}))
			func() {
				defer func() { recover() }() // as a recovering middleware does
				h.ServeHTTP(httptest.NewRecorder(), r)
			}()
			if r.MultipartForm == nil || len(r.MultipartForm.File["file"]) != 1 {
				t.Errorf("%s: the server's Request lacks the multipart form", name)
			} else if err := r.MultipartForm.RemoveAll(); err != nil {
				t.Error(err)
			}
		}
	}
}

func upload(accessToken string) *http.Request {
	r := httptest.NewRequest("POST", "/", strings.NewReader("--x\r\nContent-Disposition: form-data; name=file; filename=f\r\n\r\ntext\r\n--x--\r\n"))
	r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	r.Header.Set("Authorization", "Bearer "+accessToken)
	return r
}
