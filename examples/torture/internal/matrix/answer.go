package matrix

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A decision is the result of an operation.
type decision string

const (
	accepted      decision = "accepted"          // the token is valid, or active
	denied        decision = "denied"            // the token is invalid or inactive, or the request is anonymous
	forbidden     decision = "forbidden"         // the token is valid but may not do this
	granted       decision = "granted"           // a token was issued
	rejected      decision = "rejected"          // the credentials are wrong
	clientRefused decision = "client refused"    // the client's credentials are wrong
	completed     decision = "completed"         // the change was made
	missing       decision = "missing"           // there is no token to end
	incomplete    decision = "incomplete"        // the list leaves out a row that could not be read
	unavailable   decision = "unavailable"       // the storage or the host failed
	panicked      decision = "panicked"          // the call panicked, or the status is 500
	undocumented  decision = "not as documented" // any other result
)

// An answer is what the caller or client got.
type answer struct {
	decision
	user    string // ID of the token's user
	token   string // the issued token
	refresh string // the issued refresh token
	text    string // the whole response or error, to search for secrets
}

// answerOf returns the answer for an error of a method of [tokenauth.Service]. Ok is
// the decision for no error.
func answerOf(err error, ok decision) answer {
	if err == nil {
		return answer{decision: ok}
	}
	a := answer{decision: undocumented, text: fmt.Sprintf("%v %+v %#v", err, err, err)}
	for _, documented := range []struct {
		err error
		is  decision
	}{
		{tokenauth.ErrUnavailable, unavailable}, {tokenauth.ErrInvalidToken, denied}, {tokenauth.ErrRejected, rejected},
		{tokenauth.ErrInvalidClient, clientRefused}, {tokenauth.ErrCorrupt, incomplete}, {tokenauth.ErrNotFound, missing},
	} {
		if errors.Is(err, documented.err) {
			a.decision = documented.is
			return a
		}
	}
	if err.Error() == "tokenauth: panic" { // of a look-up that several requests may share
		a.decision = panicked
	}
	return a
}

// read returns the answer for the response of a route.
func read(path string, r *httptest.ResponseRecorder) answer {
	body := r.Body.String()
	a := answer{decision: undocumented, text: fmt.Sprintf("%d %v %s", r.Code, r.Header(), body)}
	var members struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		Active       *bool  `json:"active"`
		Sub          string `json:"sub"`
		UserID       string `json:"userId"`
		Error        string `json:"error"`
	}
	json.Unmarshal(r.Body.Bytes(), &members) // the body of whoami is not JSON
	switch r.Code {
	case http.StatusOK:
		switch path {
		case "/Token":
			if members.AccessToken != "" {
				a.decision, a.user, a.token, a.refresh, a.text = granted, members.UserID, members.AccessToken, members.RefreshToken, ""
			}
		case revokePath:
			a.decision = completed
		case introspectPath:
			switch {
			case members.Active == nil:
			case *members.Active:
				a.decision, a.user = accepted, members.Sub
			case body == `{"active":false}`:
				a.decision = denied
			}
		default:
			a.decision, a.user = accepted, body
			if path == optionalPath && body == anonymous {
				a.decision, a.user = denied, ""
			}
		}
	case http.StatusBadRequest, http.StatusUnauthorized:
		switch members.Error {
		case "invalid_token":
			if path != optionalPath && r.Header().Get("WWW-Authenticate") != "" {
				a.decision = denied
			}
		case "invalid_grant":
			a.decision = rejected
		case "invalid_client":
			a.decision = clientRefused
		case "unauthorized_client":
			a.decision = forbidden
		}
	case http.StatusForbidden:
		a.decision = forbidden
	case http.StatusServiceUnavailable:
		if r.Header().Get("Retry-After") != "" {
			a.decision = unavailable
		}
	case http.StatusInternalServerError:
		a.decision = panicked
	}
	return a
}
