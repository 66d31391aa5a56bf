package openapi

import (
	"fmt"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// facts holds the settings that the description depends on.
type facts struct {
	tokenauth.Options
	mounted      tokenauth.Endpoints
	ownErrors    bool
	metadataBody object // nil if no issuer is set
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

// Values in the examples of responses.
var exampleIssued = time.Date(2020, time.September, 13, 9, 35, 33, 0, time.UTC)

const exampleUserID = "69f61388-c60d-4ee2-a454-f60305e414c7"

func (f *facts) seconds() int64 { return int64(f.Lifetime / time.Second) }

// lifetimeInWords writes a duration in words, for example "14 days" for 336h.
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
