package tokenauth_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// A client exchanges its refresh token for a new pair of tokens. It may repeat the request
// within the grace, and gets the same pair. Later, the used refresh token ends the sign-in.
func ExampleOptions_refresh() {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	users := new(tokenauthtest.Users) // in production, of the package gormstore or password
	users.Add(tokenauth.Principal{UserID: "17", UserName: "alice"}, "correct horse")
	auth, err := tokenauth.New(new(memory.Store), users, &tokenauth.Options{
		Lifetime: 15 * time.Minute,
		Refresh: &tokenauth.RefreshOptions{
			Key: tokenauth.NewSecret("at least 32 bytes, the same on all replicas"), // from your configuration
		},
		Now: func() time.Time { return now },
	})
	if err != nil {
		panic(err)
	}
	type answer struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		Error        string `json:"error_description"`
	}
	send := func(form url.Values) (a answer) {
		w := httptest.NewRecorder()
		auth.TokenHandler().ServeHTTP(w, httptest.NewRequest("POST", "/Token", strings.NewReader(form.Encode())))
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			panic(err)
		}
		return a
	}
	refresh := func(refreshToken string) answer {
		return send(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}})
	}

	first := send(url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"correct horse"}})
	now = now.Add(time.Hour) // the access token has expired
	second := refresh(first.RefreshToken)
	fmt.Println("new tokens:", second.AccessToken != first.AccessToken && second.RefreshToken != first.RefreshToken)
	now = now.Add(10 * time.Second) // the answer was lost
	fmt.Println("the same tokens again:", refresh(first.RefreshToken) == second)
	now = now.Add(time.Minute) // there is a copy of the used token
	fmt.Println(refresh(first.RefreshToken).Error)
	fmt.Println(refresh(second.RefreshToken).Error)
	// Output:
	// new tokens: true
	// the same tokens again: true
	// The refresh token is not valid.
	// The refresh token is not valid.
}
