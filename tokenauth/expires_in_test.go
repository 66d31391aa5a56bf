package tokenauth_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// expires_in is one second less than the lifetime, whatever the fraction of the
// second at which the token is issued, and however long the storage takes.
func TestExpiresInIsAlwaysASecondLess(t *testing.T) {
	t.Parallel()
	second := time.Date(2020, 9, 13, 9, 35, 33, 0, time.UTC)
	for name, test := range map[string]struct {
		fraction, storing, lifetime time.Duration
		want                        int64
	}{
		"a new token":                    {500 * time.Millisecond, 0, 0, 1209599},
		"at the start of a second":       {0, 0, 0, 1209599},
		"at the end of a second":         {time.Second - 1, 0, 0, 1209599},
		"stored in the next second":      {900 * time.Millisecond, 200 * time.Millisecond, 0, 1209599},
		"stored slowly":                  {0, 5 * time.Second, 0, 1209599},
		"a minute":                       {300 * time.Millisecond, 2 * time.Second, time.Minute, 59},
		"a minute, stored after its end": {0, 2 * time.Minute, time.Minute, 59},
		"a clock of whole seconds":       {0, time.Second, 90 * time.Minute, 5399},
		"a year":                         {1, 0, 365 * 24 * time.Hour, 31535999},
		"a clock set back while storing": {500 * time.Millisecond, -time.Hour, 0, 1209599},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := second.Add(test.fraction)
			storage := &scripted{stored: func() { now = now.Add(test.storing) }}
			for _, devices := range []*tokenauth.DeviceOptions{nil, {Max: 1000}} {
				now = second.Add(test.fraction)
				auth := newService(t, storage, &staff{}, &tokenauth.Options{Lifetime: test.lifetime, Devices: devices, Now: func() time.Time { return now }})
				w := post(auth, "", passwordGrant)
				var answer struct {
					ExpiresIn int64  `json:"expires_in"`
					Issued    string `json:".issued"`
					Expires   string `json:".expires"`
				}
				if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
					t.Fatal(err)
				}
				issued, _ := http.ParseTime(answer.Issued)
				expires, _ := http.ParseTime(answer.Expires)
				if answer.ExpiresIn != test.want || !issued.Equal(second) || int64(expires.Sub(issued)/time.Second) != test.want+1 {
					t.Errorf("with Options.Devices %+v, answered %s, want expires_in %d and .issued at %v", devices, w.Body, test.want, second)
				}
			}
		})
	}
}
