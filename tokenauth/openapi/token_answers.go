package openapi

// A namedAnswer is an answer under its status and its name among the
// components.
type namedAnswer struct {
	status, name string
	answer
}

// references are the Responses Object of an operation with the answers.
func references(answers []namedAnswer) object {
	var o object
	for _, a := range answers {
		o = append(o, member{a.status, reference("responses", a.name)})
	}
	return o
}

// tokenAnswers are all that the token endpoint ever says.
func (f *facts) tokenAnswers() []namedAnswer {
	answers := []namedAnswer{
		{"200", "TokenIssued", answer{
			description: "Signed in.",
			schema:      reference("schemas", "TokenResponse"),
			examples:    object{{"issued", example("The access token", f.exampleTokenResponse())}},
		}},
		{"400", "TokenRefused", refused("The request is malformed, or the credentials are not good. The same request gets the same answer.", f.badTokenRequests()...)},
	}
	if f.clients() {
		answers = append(answers, namedAnswer{"401", "TokenClientUnauthorized", f.clientUnauthorized("The client is unknown or its secret is wrong, and it used Basic authentication.")})
	}
	methods := "GET, POST"
	if f.DisableGET {
		methods = "POST"
	}
	answers = append(answers, namedAnswer{"405", "TokenMethodNotAllowed", refused("Another method than those described here.",
		refusal{"method_not_allowed", "invalid_request", "The token endpoint does not answer this method."}).with("Allow", allow(methods))})
	answers = append(answers, f.bodyAnswers()...)
	answers = append(answers, namedAnswer{"429", "TokenThrottled", refused("Too many sign-ins failed, for this account or from this address. A right password is held up as well.",
		refusal{"throttled", "temporarily_unavailable", "Too many failed sign-ins. Try again later."}).with("Retry-After", retryAfter)})
	return append(answers, troubleAnswers()...)
}

// bodyAnswers are those to bodies that no endpoint reads to the end.
func (f *facts) bodyAnswers() []namedAnswer {
	return []namedAnswer{
		{"408", "TokenTimeout", refused("The body took too long to arrive: "+lifetimeInWords(f.BodyTimeout)+" at most.",
			refusal{"timeout", "invalid_request", "The body took too long to arrive."})},
		{"413", "TokenTooLarge", refused("The body is too large.",
			refusal{"too_large", "invalid_request", "The body has more than 8192 bytes."})},
		{"415", "TokenEncoded", refused("The body has a Content-Encoding.",
			refusal{"encoded", "invalid_request", "The body must not be compressed."}).
			with("Accept-Encoding", constant("No content coding is read (RFC 9110 §12.5.3).", "identity"))},
	}
}

func troubleAnswers() []namedAnswer {
	return []namedAnswer{
		{"500", "TokenServerError", refused("A fault of the server.", serverError)},
		{"503", "TokenUnavailable", refused("The server has too much to do, or could not ask its storage in time. It says nothing about what was sent.", unavailable).
			with("Retry-After", retryAfter)},
	}
}

func (f *facts) clientUnauthorized(description string) answer {
	a := refused(description, invalidClient)
	a.headers = wwwAuthenticate("Asks for the client's credentials.", `Basic realm="`+f.Realm+`", charset="UTF-8"`)
	return a
}

// A refusal is an error under the name that it has among the examples.
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

const invalidRequest = "invalid_request"

var (
	invalidClient = refusal{"invalid_client", "invalid_client", "The client is unknown, or its secret is wrong."}
	serverError   = refusal{"server_error", "server_error", "The server met an unexpected condition."}
	unavailable   = refusal{"unavailable", "temporarily_unavailable", "The server is temporarily unable to handle the request. Try again later."}
)

// badTokenRequests are those of status 400, with those first that a client is
// most likely to see.
func (f *facts) badTokenRequests() []refusal {
	refusals := append([]refusal{
		{"invalid_grant", "invalid_grant", "The user name or password is incorrect."},
		{"unsupported_grant_type", "unsupported_grant_type", "The grant type must be password."},
		{"no_grant_type", invalidRequest, "The parameter grant_type is missing."},
		{"no_username", invalidRequest, "The parameter username is missing."},
		{"no_password", invalidRequest, "The parameter password is missing."},
		{"long_username", invalidRequest, "The parameter username has more than 256 bytes."},
		{"control_in_username", invalidRequest, "The parameter username has control characters."},
	}, f.badForms("Send the parameters urlencoded in the body: grant_type=password&username=...&password=...")...)
	if f.clients() {
		refusals = append(refusals, invalidClient)
	}
	return refusals
}

// badForms are what is wrong with a form whatever it is for.
func (f *facts) badForms(notURLEncoded string) []refusal {
	refusals := []refusal{
		{"not_urlencoded", invalidRequest, notURLEncoded},
		{"credentials_in_query", invalidRequest, "Credentials belong in the body, never in the query."},
		{"doubled_parameter", invalidRequest, "A parameter is given twice."},
		{"too_many_parameters", invalidRequest, "There are more than 32 parameters."},
		{"control_characters", invalidRequest, "The parameters have control characters."},
		{"malformed_body", invalidRequest, "The body is not well-formed application/x-www-form-urlencoded text."},
		{"not_utf8", invalidRequest, "The parameters are not UTF-8."},
		{"charset", invalidRequest, "The charset of the body must be UTF-8."},
		{"authorization", invalidRequest, "The Authorization header is malformed, or there are several."},
		{"unreadable_body", invalidRequest, "The body could not be read."},
	}
	if f.clients() {
		refusals = append(refusals, refusal{"client_twice", invalidRequest, "The client is named by Basic authentication or in the body, not by both."})
	}
	return refusals
}

// tokenError is RFC 6749 §5.2.
func (f *facts) tokenError() object {
	codes := []string{"invalid_request", "invalid_grant", "unsupported_grant_type", "temporarily_unavailable", "server_error"}
	if f.clients() {
		codes = append(codes, "invalid_client", "unauthorized_client")
	}
	return object{
		{"type", "object"}, {"required", []string{"error", "error_description"}},
		{"properties", object{
			{"error", object{{"type", "string"}, {"enum", codes}, {"description", "For programs."}}},
			{"error_description", object{{"type", "string"}, {"description", "For people who read logs. It never repeats what was sent."}}},
		}},
		{"additionalProperties", false},
	}
}
