package ginadapter_test

import "testing"

// What HTTP and the reader of token requests make of odd requests.
var parsing = []situation{
	{
		id: "P01", what: "the documented call: a GET labelled JSON with an urlencoded body",
		run: func(t *testing.T, h *abuseHost) {
			h.tries(t, issued, "GET", "/Token", goodGrant, "Content-Type", "application/json")
		},
	},
	{
		id: "P02", what: "the same by POST, without a label or with another",
		run: func(t *testing.T, h *abuseHost) {
			h.tries(t, issued, "POST", "/Token", goodGrant)
			h.tries(t, issued, "POST", "/Token", goodGrant, "Content-Type", "text/plain")
			h.tries(t, rejected, "POST", "/Token", grantOf+"admin&password=something+else")
		},
	},
}
