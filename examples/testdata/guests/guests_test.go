package guests

import (
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
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// The route of the program, and a route behind each other guard, answer as the table
// of the guide says, on Gin and on net/http.
func TestGuests(t *testing.T) {
	gin.SetMode(gin.ReleaseMode)
	gin.DefaultWriter = io.Discard
	store := &tokenauthtest.FailingStorage{Storage: new(memory.Store)}
	auth, err := tokenauth.New(store, nil, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	greet := func(w http.ResponseWriter, r *http.Request) {
		name := "guest"
		if token, ok := tokenauth.FromContext(r.Context()); ok {
			name = token.Principal.UserName
		}
		io.WriteString(w, "Hello, "+name)
	}
	r := gin.New()
	mount(r, auth)
	r.GET("/bearer", ginadapter.RequireBearer(auth), gin.WrapF(greet))
	r.GET("/optional", ginadapter.Optional(auth), gin.WrapF(greet))
	mux := http.NewServeMux()
	mux.Handle("/", tokenauth.Requirement{Guests: true}.Guard(auth)(http.HandlerFunc(greet)))
	mux.Handle("/bearer", auth.RequireBearer(http.HandlerFunc(greet)))
	mux.Handle("/optional", auth.Optional(http.HandlerFunc(greet)))

	issue := func() string {
		issued, err := auth.Issue(context.Background(), tokenauth.Principal{UserID: "17", UserName: "alice"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + issued.AccessToken.Reveal()
	}
	replaced, valid := issue(), issue()
	const guest, user = "Hello, guest", "Hello, alice"
	for _, test := range []struct {
		name          string
		authorization []string
		down          bool
		want          [3]string // of RequireBearer, AllowGuests and Optional
	}{
		{"no token", nil, false, [...]string{"401", guest, guest}},
		{"no token, while the storage fails", nil, true, [...]string{"401", guest, guest}},
		{"a replaced token", []string{replaced}, false, [...]string{"401", "401", guest}},
		{"a malformed header", []string{"Bearer a b"}, false, [...]string{"400", "400", guest}},
		{"two tokens", []string{valid, valid}, false, [...]string{"400", "400", guest}},
		{"a valid token", []string{valid}, false, [...]string{user, user, user}},
		{"a token, while the storage fails", []string{valid}, true, [...]string{"503", "503", "503"}},
	} {
		if store.Heal(); test.down {
			store.Fail(errors.New("connection refused"))
		}
		for i, path := range []string{"/bearer", "/", "/optional"} {
			for router, handler := range map[string]http.Handler{"Gin": r, "net/http": mux} {
				request := httptest.NewRequest("GET", path, nil)
				request.Header["Authorization"] = test.authorization
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, request)
				got := w.Body.String()
				if w.Code != http.StatusOK {
					got = w.Result().Status[:3]
				}
				if got != test.want[i] {
					t.Errorf("%s at %s on %s: got %s, want %s", test.name, path, router, got, test.want[i])
				}
			}
		}
	}
}
