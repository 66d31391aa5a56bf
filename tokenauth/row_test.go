package tokenauth_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A record is a host's row of a user.
type record struct{ name string }

// rowStorage reports each principal that it gets.
type rowStorage struct {
	memory.Store
	saw func(what string, p tokenauth.Principal)
}

func (s *rowStorage) Replace(ctx context.Context, t tokenauth.Token) error {
	s.saw("Storage.Replace", t.Principal)
	return s.Store.Replace(ctx, t)
}

// rowUsers is an Authenticator whose principals have a row.
type rowUsers struct {
	row any
	saw func(what string, p tokenauth.Principal)
}

func (u *rowUsers) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	p := alice()
	p.Row = u.row
	return p, nil
}

func (u *rowUsers) Recheck(_ context.Context, p tokenauth.Principal) error {
	u.saw("Recheck", p)
	return nil
}

// The row comes back from SignIn, Issue and VerifyPassword, with a cache and
// without. No storage, no other func of the host and no request gets it.
func TestRowGoesToTheCallerOnly(t *testing.T) {
	t.Parallel()
	for name, cache := range map[string]*tokenauth.CacheOptions{"strict": nil, "with a cache": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row := &record{"alice"}
			seen := make(map[string]bool)
			saw := func(what string, p tokenauth.Principal) {
				seen[what] = true
				if p.Row != nil || p.UserID != "17" {
					t.Errorf("%s got the principal of %q with the row %v", what, p.UserID, p.Row)
				}
			}
			withRow := alice()
			withRow.Row = row
			auth := newService(t, &rowStorage{saw: saw}, &rowUsers{row, saw}, &tokenauth.Options{
				Cache: cache,
				LiveCheck: func(_ context.Context, t tokenauth.Token) error {
					saw("LiveCheck", t.Principal)
					return nil
				},
				Fallback: func(r *http.Request) (tokenauth.Principal, error) { return withRow, nil },
				Observers: []func(context.Context, tokenauth.Event){func(_ context.Context, e tokenauth.Event) {
					if refers(reflect.ValueOf(e), row) {
						t.Errorf("an event has the row: %+v", e)
					}
				}},
			})

			c := tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("right")}
			signedIn, err := auth.SignIn(t.Context(), c)
			if err != nil || signedIn.Token.Principal.Row != any(row) {
				t.Errorf("SignIn returned the row %v, error %v", signedIn.Token.Principal.Row, err)
			}
			p, err := auth.VerifyPassword(t.Context(), c)
			if err != nil || p.Row != any(row) {
				t.Errorf("VerifyPassword returned the row %v, error %v", p.Row, err)
			}
			issued, err := auth.Issue(t.Context(), withRow, &tokenauth.IssueOptions{Recheck: true})
			if err != nil || issued.Token.Principal.Row != any(row) {
				t.Errorf("Issue returned the row %v, error %v", issued.Token.Principal.Row, err)
			}

			for range 2 {
				token, err := auth.Validate(t.Context(), issued.AccessToken.Reveal())
				if err != nil {
					t.Fatal(err)
				}
				saw("Validate", token.Principal)
			}
			handler := auth.RequireBearer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				token, _ := tokenauth.FromContext(r.Context())
				saw("a handler", token.Principal)
			}))
			for _, authorization := range []string{"Bearer " + issued.AccessToken.Reveal(), "Session of another system"} {
				r := httptest.NewRequest("GET", "/", nil)
				r.Header.Set("Authorization", authorization)
				handler.ServeHTTP(httptest.NewRecorder(), r)
			}
			for _, what := range []string{"Storage.Replace", "Recheck", "LiveCheck", "Validate", "a handler"} {
				if !seen[what] {
					t.Errorf("%s was not called", what)
				}
			}
		})
	}
}

// refers reports whether the value refers to the record.
func refers(v reflect.Value, to *record) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return !v.IsNil() && (v.Kind() == reflect.Pointer && v.Pointer() == reflect.ValueOf(to).Pointer() || refers(v.Elem(), to))
	case reflect.Struct:
		for i := range v.NumField() {
			if refers(v.Field(i), to) {
				return true
			}
		}
	}
	return false
}

// A token with a row has the encoding of one without.
func TestRowIsNotEncoded(t *testing.T) {
	t.Parallel()
	token := tokenauth.Token{Principal: alice()}
	want, _ := token.MarshalBinary()
	token.Principal.Row = &record{"alice"}
	got, _ := token.MarshalBinary()
	if string(got) != string(want) {
		t.Error("the row changes the encoding of a token")
	}
}
