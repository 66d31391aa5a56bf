package tokenauthtest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/place"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// As puts the token where the guards of the Service look for it.
func TestAsPutsTheTokenInAListedPlace(t *testing.T) {
	t.Parallel()
	session := place.Cookie{Name: "session"}
	for _, test := range []struct {
		places []place.Place
		bearer bool // whether the token is in an Authorization header, behind Bearer
	}{
		{nil, true},
		{[]place.Place{session, place.Scheme("bearer")}, true},
		{[]place.Place{place.Scheme("Token"), session}, false},
		{[]place.Place{place.Header("X-Token")}, false},
		{[]place.Place{place.WebSocket{}}, false},
		{[]place.Place{session}, false},
		{[]place.Place{place.Cookie{Name: "wide", Domain: "example.com"}}, false},
		{[]place.Place{place.InsecureQuery("t")}, false},
	} {
		auth := tokenauthtest.New(t, &tokenauth.Options{Places: test.places})
		for _, url := range []string{"https://app.example.com/reports?a=b", "http://localhost/reports"} {
			r := auth.As(alice, httptest.NewRequest("GET", url, nil))
			expect(t, reports(auth.Service), r, http.StatusOK)
			if got := r.Header.Get("Authorization"); strings.HasPrefix(strings.ToLower(got), "bearer ") != test.bearer {
				t.Errorf("%v: the Authorization header is %q", test.places, got)
			}
		}
	}
}
