package tokenauth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// What a handler uploads to files, net/http removes when it is done with the
// request, if it finds them in its own: a guard's is a copy.
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
					t.Errorf("%s: nobody is known", name)
				}
				if err := r.ParseMultipartForm(1); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if panics {
					panic(http.ErrAbortHandler)
				}
			}))
			func() {
				defer func() { recover() }() // as a host's middleware does
				h.ServeHTTP(httptest.NewRecorder(), r)
			}()
			if r.MultipartForm == nil || len(r.MultipartForm.File["file"]) != 1 {
				t.Errorf("%s: the server does not know of the file", name)
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
