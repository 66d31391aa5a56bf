package openapi

import (
	"fmt"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// facts are what the description depends on.
type facts struct {
	tokenauth.Options
	mounted      tokenauth.Endpoints
	ownErrors    bool
	metadataBody object // if there is an issuer
}

func (f *facts) clients() bool { return f.Clients != nil }

const (
	tagToken    = "Token"
	tagOtherUse = "Other spellings"
)

func (f *facts) perClient() string {
	if f.clients() {
		return " at each client"
	}
	return ""
}

func (f *facts) exampleToken() string { return f.Prefix + "EXAMPLE_access_token" }

// What the examples tell of.
var exampleIssued = time.Date(2020, time.September, 13, 9, 35, 33, 0, time.UTC)

const exampleUserID = "69f61388-c60d-4ee2-a454-f60305e414c7"

func (f *facts) seconds() int64 { return int64(f.Lifetime / time.Second) }

// lifetimeInWords is "14 days" rather than "336h0m0s".
func lifetimeInWords(d time.Duration) string {
	for _, unit := range []struct {
		name string
		d    time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		if n := d / unit.d; d%unit.d == 0 {
			if n == 1 {
				return "1 " + unit.name
			}
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return d.String()
}
