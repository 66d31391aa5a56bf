package matrix

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A decision is what an operation came to.
type decision string

const (
	accepted      decision = "accepted"       // the token is good, or active
	denied        decision = "denied"         // it is not; anonymous, or inactive
	forbidden     decision = "forbidden"      // it is, and may not do this
	granted       decision = "granted"        // a token was issued
	rejected      decision = "rejected"       // the credentials are not good
	clientRefused decision = "client refused" // nor is the client
	completed     decision = "completed"      // what was to be done is done
	incomplete    decision = "incomplete"     // what could not be read is left out
	unavailable   decision = "unavailable"    // it could not be told, or not be done
	panicked      decision = "panicked"       // or 500
	undocumented  decision = "not as documented"
)

// An answer is what whoever asked was told.
type answer struct {
	decision
	user  string // whom the token stands for
	token string // that was issued
	text  string // all that was said
}

// answerOf reads an error of a method of Service; ok is what none means.
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
		{tokenauth.ErrInvalidClient, clientRefused}, {tokenauth.ErrCorrupt, incomplete},
	} {
		if errors.Is(err, documented.err) {
			a.decision = documented.is
			return a
		}
	}
	return a
}

// read reads a response of any of the routes.
func read(path string, r *httptest.ResponseRecorder) answer {
	body := r.Body.String()
	a := answer{decision: undocumented, text: fmt.Sprintf("%d %v %s", r.Code, r.Header(), body)}
	var members struct {
		AccessToken string `json:"access_token"`
		Active      *bool  `json:"active"`
		Sub         string `json:"sub"`
		UserID      string `json:"userId"`
		Error       string `json:"error"`
	}
	json.Unmarshal(r.Body.Bytes(), &members) // whoami is none
	switch r.Code {
	case http.StatusOK:
		switch path {
		case "/Token":
			if members.AccessToken != "" {
				a.decision, a.user, a.token, a.text = granted, members.UserID, members.AccessToken, ""
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
			if path == optionalPath && body == "nobody" {
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
