package password_test

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// django parses a hash of Django: pbkdf2_sha256$iterations$salt$hash.
func django(stored string) func(string) bool {
	fields := strings.Split(stored, "$")
	if len(fields) != 4 || fields[0] != "pbkdf2_sha256" {
		return nil
	}
	iterations, err := strconv.Atoi(fields[1])
	if err != nil || iterations < 1 || iterations > 4_000_000 { // about a second
		return nil
	}
	salt := []byte(fields[2])
	want, err := base64.StdEncoding.DecodeString(fields[3])
	if err != nil || len(want) != sha256.Size {
		return nil
	}
	return func(text string) bool {
		got, err := pbkdf2.Key(sha256.New, text, salt, iterations, sha256.Size)
		return err == nil && subtle.ConstantTimeCompare(got, want) == 1
	}
}

// Users keep the passwords that they had in a Django application.
func ExampleOptions_formats() {
	accounts := map[string]password.Account{"alice": {
		UserID: "1", UserName: "alice", PasswordHash: "pbkdf2_sha256$1000$seasalt$mQnueSakb748zqBAC1tmWVZsZbi2zPGZarEzTGdfmso=",
	}}
	users, err := password.New(func(_ context.Context, userName string) (password.Account, error) {
		if account, ok := accounts[userName]; ok {
			return account, nil
		}
		return password.Account{}, tokenauth.ErrNotFound
	}, &password.Options{Formats: []func(string) func(string) bool{django}})
	if err != nil {
		panic(err)
	}
	auth, err := tokenauth.New(new(memory.Store), users, nil)
	if err != nil {
		panic(err)
	}
	for _, text := range []string{"correct horse", "battery staple"} {
		_, err := auth.SignIn(context.Background(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret(text)})
		fmt.Println(text, errors.Is(err, tokenauth.ErrRejected))
	}
	// Output:
	// correct horse false
	// battery staple true
}
