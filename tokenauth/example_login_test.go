package tokenauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A host may keep its own login handler, with request and response bodies of its
// own.
func ExampleErrorResponseOf() {
	users := authenticatorFunc(func(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
		if c.UserName != "ann@example.com" || c.Password.Reveal() != "correct horse" {
			return tokenauth.Principal{}, tokenauth.ErrRejected
		}
		return tokenauth.Principal{UserID: "42", UserName: c.UserName}, nil
	})
	auth, err := tokenauth.New(new(memory.Store), users, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	login := func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Email, Password string }
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 8<<10)).Decode(&in); err != nil {
			http.Error(w, "send an email and a password", http.StatusBadRequest)
			return
		}
		credentials := auth.RequestCredentials(r)
		credentials.UserName, credentials.Password = in.Email, tokenauth.NewSecret(in.Password)
		issued, err := auth.SignIn(r.Context(), credentials)
		if err != nil {
			e := tokenauth.ErrorResponseOf(err)
			e.SetHeaders(w.Header()) // such as Retry-After
			w.WriteHeader(e.Status)
			json.NewEncoder(w).Encode(map[string]any{"ok": false, "why": e.Code})
			return
		}
		id, err := issued.Token.Principal.NumericID()
		if err != nil {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		json.NewEncoder(w).Encode(map[string]any{"ok": true, "id": id, "token": issued.AccessToken.Reveal()[:4] + "…"})
	}
	for _, password := range []string{"wrong", "correct horse"} {
		body := fmt.Sprintf(`{"email":"ann@example.com","password":%q}`, password)
		w := httptest.NewRecorder()
		login(w, httptest.NewRequest("POST", "/login", strings.NewReader(body)))
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 400 {"ok":false,"why":"invalid_grant"}
	// 200 {"id":42,"ok":true,"token":"tat_…"}
}
