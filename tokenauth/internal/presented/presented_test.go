package presented_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth/internal/presented"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

// offer matches a subprotocol of a list that has a token.
var offer = regexp.MustCompile(`(?:^|,)[ \t]*bearer\.([^,]*)`)

// Find returns the token of exactly one subprotocol, whatever else the list has
// and however it is split into lines.
func FuzzFindInSubprotocols(f *testing.F) {
	f.Add("bearer.tat_x, feed", "")
	f.Add("feed", "bearer.tat_x")
	f.Add("bearer.a,bearer.b", "feed")
	f.Add(",bearer.,", "Bearer.tat_x")
	f.Add(" \t bearer.tat_x\t ,\"bearer.x\"", "xbearer.y")
	places, err := presented.Compile([]place.Place{place.WebSocket{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, one, other string) {
		lines := []string{one, other}
		accessToken, inCookie, err := places.Find(&http.Request{Method: "GET", Header: http.Header{"Sec-Websocket-Protocol": lines}})
		var want string
		var wantErr error
		switch offers := offer.FindAllStringSubmatch(one+","+other, -1); {
		case len(offers) > 1:
			wantErr = presented.ErrSeveral
		case len(offers) == 1:
			want = strings.TrimRight(offers[0][1], " \t")
		}
		if want == "" && wantErr == nil {
			wantErr = presented.ErrNone
		}
		if accessToken != want || inCookie || err != wantErr {
			t.Errorf("%q: found %q, error %v; want %q, error %v", lines, accessToken, err, want, wantErr)
		}
	})
}
