package openapi

import (
	"cmp"
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

// device returns the name of the parameter of token requests that names the
// device, or "" if there is none.
func (f *facts) device() string {
	if f.Devices == nil {
		return ""
	}
	return f.Devices.Parameter
}

// place says where a user has one token, as in "at each client". The article is
// "each" or "this".
func (f *facts) place(article string) string {
	switch {
	case f.clients() && f.device() != "":
		return " on " + article + " device of " + article + " client"
	case f.device() != "":
		return " on " + article + " device"
	case f.clients():
		return " at " + article + " client"
	}
	return ""
}

func (f *facts) exampleToken() string { return f.Prefix + "EXAMPLE_access_token" }

// Values in the examples of responses.
var exampleIssued = time.Date(2020, time.September, 13, 9, 35, 33, 0, time.UTC)

const exampleUserID = "69f61388-c60d-4ee2-a454-f60305e414c7"

func (f *facts) seconds() int64 { return int64(f.Lifetime / time.Second) }

// longest returns the longest lifetime of a new token in seconds. A registered
// client may have a lifetime of its own.
func (f *facts) longest() int64 {
	if !f.clients() {
		return f.seconds()
	}
	return int64(cmp.Or(f.MaxLifetime, 365*24*time.Hour) / time.Second)
}

// livesOn says how long a token is valid after its first expiry, or is "".
func (f *facts) livesOn() string {
	if f.MaxLifetime == 0 {
		return ""
	}
	return " Each use extends it, up to " + lifetimeInWords(f.MaxLifetime) + " after the sign-in."
}

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
