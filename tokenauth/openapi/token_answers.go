package openapi

import "github.com/bearerkit/bearerkit/tokenauth/internal/wire"

// A namedAnswer is an answer with its status and its name in
// #/components/responses.
type namedAnswer struct {
	status, name string
	answer
}

// references returns the Responses Object of an operation, which refers to each of
// the answers by its name.
func references(answers []namedAnswer) object {
	var o object
	for _, a := range answers {
		o = append(o, member{a.status, reference("responses", a.name)})
	}
	return o
}

// tokenAnswers returns all answers of the token endpoint.
func (f *facts) tokenAnswers() []namedAnswer {
	answers := []namedAnswer{
		{"200", "TokenIssued", answer{
			description: "The sign-in succeeded.",
			schema:      reference("schemas", "TokenResponse"),
			examples:    object{{"issued", example("The access token", f.exampleTokenResponse())}},
		}},
		{"400", "TokenRefused", refused("The request is malformed, or the credentials are invalid. Repeating the same request does not help.", f.badTokenRequests()...)},
	}
	if f.clients() {
		answers = append(answers, namedAnswer{"401", "TokenClientUnauthorized", f.clientUnauthorized()})
	}
	methods := "GET, POST"
	if f.DisableGET {
		methods = "POST"
	}
	answers = append(answers, namedAnswer{"405", "TokenMethodNotAllowed", refused("The method is not allowed.",
		refusal{"method_not_allowed", wire.InvalidRequest, wire.TokenMethod}).with("Allow", allow(methods))})
	answers = append(answers, f.bodyAnswers()...)
	throttled := "Too many sign-ins failed for this account or from this address. A correct password is throttled as well."
	if len(f.Parameters) > 0 {
		throttled += " If one-time codes are limited, too many codes for this account may have been wrong; a correct code is throttled as well."
	}
	answers = append(answers, namedAnswer{"429", "TokenThrottled", refused(throttled,
		refusal{"throttled", wire.TemporarilyUnavailable, wire.Throttled}).with("Retry-After", retryAfter)})
	return append(answers, serverErrorAnswers()...)
}

// bodyAnswers returns the answers to requests whose body is too slow, too large or
// compressed. The server does not read such a body to the end.
func (f *facts) bodyAnswers() []namedAnswer {
	return []namedAnswer{
		{"408", "TokenTimeout", refused("The body did not arrive within "+lifetimeInWords(f.BodyTimeout)+".",
			refusal{"timeout", wire.InvalidRequest, wire.BodyTooSlow})},
		{"413", "TokenTooLarge", refused("The body is too large.",
			refusal{"too_large", wire.InvalidRequest, wire.BodyTooLarge},
			refusal{"over_limit", wire.InvalidRequest, wire.BodyOverLimit})},
		{"415", "TokenEncoded", refused("The body has a Content-Encoding.",
			refusal{"encoded", wire.InvalidRequest, wire.BodyCompressed}).
			with("Accept-Encoding", constant("The server does not support compressed bodies (RFC 9110 §12.5.3).", "identity"))},
	}
}

// serverErrorAnswers returns the answers with status 500 and 503.
func serverErrorAnswers() []namedAnswer {
	return []namedAnswer{
		{"500", "TokenServerError", refused("An internal error of the server.", serverError)},
		{"503", "TokenUnavailable", refused("The server is overloaded, or a call of its storage or its user directory failed or timed out. The credentials or the token may be valid.", unavailable).
			with("Retry-After", retryAfter)},
	}
}

// clientUnauthorized returns the 401 for a client whose Basic authentication
// failed. If the client's credentials were in the body, it gets the same error with
// status 400.
func (f *facts) clientUnauthorized() answer {
	a := refused("The client used Basic authentication, and it is unknown or its secret is wrong.", invalidClient)
	a.headers = wwwAuthenticate("Asks for the client's credentials.", wire.BasicChallenge(f.Realm))
	return a
}

// A refusal is an error response (RFC 6749 §5.2). Its name is also the name of
// its example in the description.
type refusal struct{ name, code, description string }

func (r refusal) body() object {
	return object{{"error", r.code}, {"error_description", r.description}}
}

func refused(description string, refusals ...refusal) answer {
	var examples object
	for _, r := range refusals {
		examples = append(examples, member{r.name, example(r.description, r.body())})
	}
	return answer{description: description, schema: reference("schemas", "TokenError"), examples: examples}
}

var (
	invalidClient = refusal{"invalid_client", wire.InvalidClient, wire.RejectedClient}
	serverError   = refusal{"server_error", wire.ServerError, wire.Unexpected}
	unavailable   = refusal{"unavailable", wire.TemporarilyUnavailable, wire.Unavailable}
)

// badTokenRequests returns the errors that the token endpoint reports with status
// 400, the most likely ones first.
func (f *facts) badTokenRequests() []refusal {
	refusals := append([]refusal{
		{"invalid_grant", wire.InvalidGrant, wire.RejectedCredentials},
		{"unsupported_grant_type", wire.UnsupportedGrantType, f.unsupportedGrant()},
		{"no_grant_type", wire.InvalidRequest, wire.GrantTypeMissing},
		{"no_username", wire.InvalidRequest, wire.UserNameMissing},
		{"no_password", wire.InvalidRequest, wire.PasswordMissing},
		{"long_username", wire.InvalidRequest, wire.UserNameTooLong},
		{"control_in_username", wire.InvalidRequest, wire.UserNameControls},
	}, f.badForms(wire.SendTokenRequest)...)
	refusals = append(refusals, f.refreshRefusals()...)
	if f.device() != "" {
		refusals = append(refusals,
			refusal{"device", wire.InvalidRequest, wire.DeviceMalformed},
			refusal{"device_name", wire.InvalidRequest, wire.DeviceNameMalformed})
	}
	if len(f.Parameters) > 0 {
		refusals = append(refusals, refusal{"long_parameter", wire.InvalidRequest, wire.ParameterTooLong})
	}
	if f.clients() {
		refusals = append(refusals, invalidClient)
	}
	return refusals
}

// badForms returns the errors with status 400 that all endpoints with a form
// have in common. If the body is not a form, the parameter notURLEncoded is the
// error's description.
func (f *facts) badForms(notURLEncoded string) []refusal {
	refusals := []refusal{
		{"not_urlencoded", wire.InvalidRequest, notURLEncoded},
		{"credentials_in_query", wire.InvalidRequest, wire.CredentialsInQuery},
		{"long_query", wire.InvalidRequest, wire.QueryTooLong},
		{"doubled_parameter", wire.InvalidRequest, wire.ParameterTwice},
		{"too_many_parameters", wire.InvalidRequest, wire.TooManyParameters},
		{"control_characters", wire.InvalidRequest, wire.ParameterControls},
		{"not_utf8", wire.InvalidRequest, wire.ParametersNotUTF8},
		{"byte_order_mark", wire.InvalidRequest, wire.ByteOrderMark},
		{"no_body", wire.InvalidRequest, wire.BodyGone},
		{"authorization", wire.InvalidRequest, wire.AuthorizationMalformed},
		{"unreadable_body", wire.InvalidRequest, wire.BodyUnreadable},
	}
	if f.clients() {
		refusals = append(refusals, refusal{"client_twice", wire.InvalidRequest, wire.ClientTwice})
	}
	return refusals
}

// tokenError returns the schema of an error response (RFC 6749 §5.2). The error
// code is not an enum, because a [tokenauth.Rejection] has a code of the host's.
func (f *facts) tokenError() object {
	codes := []string{wire.InvalidRequest, wire.InvalidGrant, wire.UnsupportedGrantType, wire.TemporarilyUnavailable, wire.ServerError}
	if f.clients() {
		codes = append(codes, wire.InvalidClient, wire.UnauthorizedClient)
	}
	return object{
		{"type", "object"}, {"required", []string{"error", "error_description"}},
		{"properties", object{
			{"error", object{
				{"type", "string"}, {"minLength", 1}, {"maxLength", 64}, {"examples", codes},
				{"description", "The error code, for programs. The token endpoint may have codes of its own, for a sign-in with the right password that needs something else."},
			}},
			{"error_description", object{{"type", "string"}, {"description", "The description, for people who read logs. It contains no part of the request."}}},
		}},
		{"additionalProperties", false},
	}
}
