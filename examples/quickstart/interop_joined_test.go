package main_test

import (
	"context"
	"net/http/httptest"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// joinedPassword has characters that a form would need to escape.
const joinedPassword = "pa;ss100%sure%2"

// A client that joins strings without escaping them sends the password as typed, and
// that is the password that the server verifies.
func TestClientsThatDoNotEscapeForms(t *testing.T) {
	t.Parallel()
	cheap, err := bcrypt.GenerateFromPassword([]byte(joinedPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users, err := password.New(func(_ context.Context, userName string) (password.Account, error) {
		if userName != "joined" {
			return password.Account{}, tokenauth.ErrNotFound
		}
		return password.Account{UserID: "1", UserName: "joined", PasswordHash: string(cheap)}, nil
	}, &password.Options{KeepHashes: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []client{
		{"C# StringContent", csharp("StringContent")},
		{"C# StreamWriter", csharp("StreamWriter")},
		{"Apache HttpClient 4", apacheHTTP("4", "joined")},
		{"Apache HttpClient 5", apacheHTTP("5", "joined")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			auth, err := tokenauth.New(new(memory.Store), users, nil)
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(mounted(auth, auth.RequireBearer))
			t.Cleanup(server.Close)
			c.check(t, target{host: server.URL, user: "joined", password: joinedPassword})
		})
	}
}
