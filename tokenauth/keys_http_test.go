package tokenauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// A client that has a key may end it, because a key belongs to no client.
func TestRevocationEndpointEndsKeys(t *testing.T) {
	t.Parallel()
	secret := registeredSecret.Reveal()
	for _, test := range []struct {
		name  string
		o     tokenauth.Options
		basic string
	}{
		{"without a registry", tokenauth.Options{}, ""},
		{"with devices", tokenauth.Options{Devices: new(tokenauth.DeviceOptions)}, ""},
		{"with refresh tokens", tokenauth.Options{Refresh: new(tokenauth.RefreshOptions)}, ""},
		{"with a registry", tokenauth.Options{Clients: registered{"web": none}}, "web:" + secret},
	} {
		var events []tokenauth.Event
		test.o.Observers = []func(context.Context, tokenauth.Event){func(_ context.Context, e tokenauth.Event) { events = append(events, e) }}
		auth, keys := keyed(t, new(memory.Store), newOwners(alice()), test.o)
		key, made := makeKey(t, keys, alice(), tokenauth.Key{})
		expectKey(t, keys, key, "Reader,Staff")
		sendToken(t, auth, "/revoke", test.basic, "token="+garbled(key))
		expectKey(t, keys, key, "Reader,Staff")
		if test.basic != "" {
			sendToken(t, auth, "/revoke", "nobody:x", "token="+key)
			expectKey(t, keys, key, "Reader,Staff")
		}
		events = nil
		for range 2 { // the second time there is nothing to end
			if body := sendToken(t, auth, "/revoke", test.basic, "token="+key); !strings.Contains(body, "{}") {
				t.Errorf("%s: the answer is %s", test.name, body)
			}
		}
		expectKey(t, keys, key, "invalid")
		if len(events) != 2 || events[0].Kind != event.Revoked || events[0].Reason != event.ReasonKey || events[0].Key != made.ID || events[0].ClientID != "" || events[0].UserID != "17" {
			t.Errorf("%s: the events are %+v", test.name, events)
		}
	}
}

func TestIntrospectionEndpointTellsAboutKeys(t *testing.T) {
	t.Parallel()
	secret := registeredSecret.Reveal()
	var clock tokenauthtest.Clock
	users := newOwners(alice())
	store := new(scripted)
	auth, keys := keyed(t, store, users, tokenauth.Options{Clients: registered{"api": all, "web": own}, Now: clock.Now, ResponseAttributes: []string{"tenant"}, Refresh: new(tokenauth.RefreshOptions)})
	forever, _ := makeKey(t, keys, alice(), tokenauth.Key{Roles: []string{"Reader"}})
	hour, _ := makeKey(t, keys, alice(), tokenauth.Key{ExpiresAt: clock.Now().Add(time.Hour)})
	const hint = "token_type_hint=api_key"
	const member = `"active":true,"username":"alice","token_type":"bearer",`
	for _, test := range []struct{ name, basic, key, want string }{
		{"a key that does not expire", "api", forever, `{` + member + `"iat":1599989733,"sub":"17","role":"Reader","tenant":"north"}`},
		{"a key that expires", "api", hour, `{` + member + `"exp":1599993333,"iat":1599989733,"sub":"17","role":"Reader,Staff","tenant":"north"}`},
		{"a client that may see only its own tokens", "web", forever, `{"active":false}`},
		{"garbage", "api", forever + "x", `{"active":false}`},
	} {
		if body := sendToken(t, auth, "/introspect", test.basic+":"+secret, "token="+test.key); !strings.Contains(body, `{"active":false}`) {
			t.Errorf("%s, for a resource server that does not ask for keys: the answer is %s", test.name, body)
		}
		if body := sendToken(t, auth, "/introspect", test.basic+":"+secret, hint+"&token="+test.key); !strings.Contains(body, test.want) {
			t.Errorf("%s: the answer is %s, want %s", test.name, body, test.want)
		}
	}
	users.fail(errors.New("no database"))
	if err := auth.RevokeUser(t.Context(), "17"); err != nil {
		t.Fatal(err)
	}
	if body := sendToken(t, auth, "/introspect", "api:"+secret, hint+"&token="+forever); strings.Contains(body, "active") || !strings.Contains(body, "temporarily_unavailable") {
		t.Errorf("while the users cannot be asked, the answer is %s", body)
	}
	users.fail(nil)
	users.disable("17", true)
	if body := sendToken(t, auth, "/introspect", "api:"+secret, hint+"&token="+forever); !strings.Contains(body, `{"active":false}`) {
		t.Errorf("for a disabled user, the answer is %s", body)
	}
}

// LiveCheck sees the current stamp of the owner. If it rejects a key because the record
// of the owner is old, the record is made again.
func TestLiveCheckIsAskedAboutKeys(t *testing.T) {
	t.Parallel()
	store, users := new(memory.Store), newOwners(alice())
	var mu sync.Mutex
	var asked []string
	refuse := ""
	_, keys := keyed(t, store, users, tokenauth.Options{LiveCheck: func(ctx context.Context, token tokenauth.Token) error {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, token.Key+" "+token.Principal.Stamp)
		switch {
		case refuse == "error":
			return errors.New("no answer")
		case refuse != "":
			return tokenauth.ErrRejected
		}
		return users.Recheck(ctx, token.Principal)
	}})
	key, made := makeKey(t, keys, alice(), tokenauth.Key{})
	expectKey(t, keys, key, "Reader,Staff")
	users.change("17", func(p *tokenauth.Principal) { p.Stamp, p.Roles = "stamp-2", []string{"Reader"} }) // without RevokeUser
	expectKey(t, keys, key, "Reader")
	expectKey(t, keys, key, "Reader")
	want := strings.Join([]string{made.ID + " stamp-1", made.ID + " stamp-1", made.ID + " stamp-2", made.ID + " stamp-2"}, ",")
	if got := strings.Join(asked, ","); got != want {
		t.Errorf("LiveCheck was asked about %s, want %s", got, want)
	}
	refuse = "error"
	expectKey(t, keys, key, "unavailable")
	refuse = "key"
	users.asked()
	expectKey(t, keys, key, "invalid")
	if n := users.asked(); n != 1 {
		t.Errorf("a rejection by LiveCheck made %d calls of Reload, want 1", n)
	}
	refuse = ""
	users.disable("17", true)
	expectKey(t, keys, key, "invalid")
	users.disable("17", false)
	expectKey(t, keys, key, "Reader")
}

// The log names keys by their IDs only.
func TestLogNamesKeysByTheirIDs(t *testing.T) {
	t.Parallel()
	logger, logged := logInto()
	auth, keys := keyed(t, new(memory.Store), newOwners(alice()), tokenauth.Options{Logger: logger})
	key, made := makeKey(t, keys, alice(), tokenauth.Key{Name: "ci"})
	if status, _ := with(auth.RequireBearer, key); status != 403 {
		t.Errorf("the guard answered %d", status)
	}
	if err := keys.Revoke(t.Context(), "17", made.ID); err != nil {
		t.Fatal(err)
	}
	if err := keys.RevokeAll(t.Context(), "17"); err != nil {
		t.Fatal(err)
	}
	text := logged.String()
	for _, want := range []string{
		`level=INFO msg="tokenauth: token issued" event=issued reason=key user_id=17 user_name=alice key=` + made.ID + " token=",
		`level=WARN msg="tokenauth: request refused" event=refused reason=key user_id=17 user_name=alice key=` + made.ID + " remote_addr=192.0.2.1 token=",
		`level=INFO msg="tokenauth: tokens revoked" event=revoked reason=key user_id=17 user_name=alice key=` + made.ID + " token=",
		`level=INFO msg="tokenauth: tokens revoked" event=revoked reason=key user_id=17` + "\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %s:\n%s", want, text)
		}
	}
	if strings.Contains(text, key[len(made.ID):]) || strings.Contains(text, "client_id") {
		t.Errorf("the log has a key, or a client: %s", text)
	}
	if encoded, err := json.Marshal(made); err != nil || strings.Contains(string(encoded), key[len(made.ID):]) {
		t.Errorf("the description has the key: %s, error %v", encoded, err)
	}
}

func TestTooManyKeysIsTheUsersMistake(t *testing.T) {
	t.Parallel()
	e := tokenauth.ErrorResponseOf(tokenauth.ErrTooManyKeys)
	if e.Status != 400 || e.Code != "invalid_request" || e.Description != "The user has too many API keys." {
		t.Errorf("the response is %+v", e)
	}
}
