package event_test

import (
	"fmt"

	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// An observer counts events by their kind and reason, as a metric does. A host
// sets such a func in tokenauth.Options.Observers, and there reads Kind and
// Reason from the tokenauth.Event.
func Example() {
	counts := make(map[string]int)
	observe := func(kind event.Kind, reason event.Reason) {
		counts[fmt.Sprintf("%v/%v", kind, reason)]++
	}

	observe(event.Issued, "")
	observe(event.SignInRefused, event.ReasonCredentials)
	observe(event.SignInRefused, event.ReasonCredentials)
	observe(event.Refused, event.ReasonReplaced)
	fmt.Println(counts)
	// Output: map[issued/:1 refused/replaced:1 sign_in_refused/credentials:2]
}
