package ginadapter_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

// A page can send the token with the handshake of a WebSocket, as a subprotocol
// or in a cookie. The token is not in the response.
func TestWebSocketHandshake(t *testing.T) {
	t.Parallel()
	auth, err := tokenauth.New(new(memory.Store), rejectAll{}, &tokenauth.Options{
		Places: []place.Place{place.WebSocket{}, place.Cookie{Name: "session"}}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	issued, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: "17", UserName: "alice"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	accessToken := issued.AccessToken.Reveal()
	feed := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"feed"}})
		if err != nil {
			return // Accept has answered
		}
		token, _ := tokenauth.FromContext(r.Context())
		if err := c.Write(r.Context(), websocket.MessageText, []byte("hello "+token.Principal.UserName)); err != nil {
			t.Errorf("sending a message: %v", err)
		}
		c.Close(websocket.StatusNormalClosure, "")
	})
	engine := gin.New()
	engine.GET("/", ginadapter.RequireBearer(auth), gin.WrapH(feed))
	for framework, h := range map[string]http.Handler{"net/http": auth.RequireBearer(feed), "Gin": engine} {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		for _, test := range []struct {
			name     string
			offers   []string
			header   http.Header
			status   int
			selected string
		}{
			{"the token in a subprotocol", []string{"bearer." + accessToken, "feed"}, nil, http.StatusSwitchingProtocols, "feed"},
			{"the token in the last subprotocol", []string{"feed", "bearer." + accessToken}, nil, http.StatusSwitchingProtocols, "feed"},
			{"the token alone", []string{"bearer." + accessToken}, nil, http.StatusSwitchingProtocols, ""},
			{"an invalid token", []string{"feed", "bearer.tat_x"}, nil, http.StatusUnauthorized, ""},
			{"two tokens", []string{"feed", "bearer." + accessToken, "bearer." + accessToken}, nil, http.StatusBadRequest, ""},
			{"no token", []string{"feed"}, nil, http.StatusUnauthorized, ""},
			{"no subprotocol", nil, nil, http.StatusUnauthorized, ""},
			{"a cookie", []string{"feed"}, http.Header{"Cookie": {"session=" + accessToken}, "Origin": {server.URL}}, http.StatusSwitchingProtocols, "feed"},
			{"a cookie from another site", []string{"feed"}, http.Header{"Cookie": {"session=" + accessToken}, "Origin": {"http://evil.example"}}, http.StatusForbidden, ""},
			{"a cookie and Sec-Fetch-Site", []string{"feed"}, http.Header{"Cookie": {"session=" + accessToken}, "Sec-Fetch-Site": {"same-site"}}, http.StatusForbidden, ""},
		} {
			c, response, err := websocket.Dial(t.Context(), server.URL, &websocket.DialOptions{Subprotocols: test.offers, HTTPHeader: test.header})
			if response == nil {
				t.Fatalf("%s, %s: %v", framework, test.name, err)
			}
			if response.StatusCode != test.status {
				t.Errorf("%s, %s: answered %d, want %d", framework, test.name, response.StatusCode, test.status)
			}
			if strings.Contains(fmt.Sprint(response.Header), accessToken) {
				t.Errorf("%s, %s: the token is in the response", framework, test.name)
			}
			if c == nil {
				continue
			}
			if c.Subprotocol() != test.selected {
				t.Errorf("%s, %s: the subprotocol is %q, want %q", framework, test.name, c.Subprotocol(), test.selected)
			}
			if _, message, err := c.Read(t.Context()); err != nil || string(message) != "hello alice" {
				t.Errorf("%s, %s: got the message %q, error %v", framework, test.name, message, err)
			}
			c.CloseNow()
		}
	}
}
