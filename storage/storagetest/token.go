package storagetest

import (
	"fmt"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// epoch is an arbitrary time. Like all times in tokens, it is in whole seconds.
var epoch = time.Date(2026, 3, 29, 1, 59, 59, 0, time.UTC)

// token returns a token of the user at the client; n makes its digest unique.
func token(user, client string, n int) tokenauth.Token {
	t := tokenauth.Token{
		Slot:     tokenauth.SlotOf(user, client),
		ClientID: client,
		Principal: tokenauth.Principal{
			UserID:   user,
			UserName: "name of " + user,
			Roles:    []string{"Reader"},
			Stamp:    "stamp",
		},
		IssuedAt:  epoch,
		ExpiresAt: epoch.AddDate(70, 0, 0), // in the future, because a Watcher need not report the end of an expired token
	}
	copy(t.Digest[:], fmt.Sprintf("%-32d", n))
	return t
}
