package openapi

import (
	"encoding/json"
	"maps"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// The error responses of protected routes have these names in
// #/components/responses.
const (
	bearerInvalidRequest = "BearerInvalidRequest"
	bearerUnauthorized   = "BearerUnauthorized"
	bearerForbidden      = "BearerForbidden"
	bearerServerError    = "BearerServerError"
	bearerUnavailable    = "BearerUnavailable"
)

// Protected returns a copy of the Operation Object of a route behind
// [tokenauth.Service.RequireBearer]. The copy requires an access token, and has
// the error responses of that guard. If anyOf is not empty, the user needs one
// of these roles, and the copy also has the 403 of
// [tokenauth.Service.RequireRole]. If the operation already has a response with
// one of these statuses, that response stays.
//
// For a route that also takes API keys ([tokenauth.Requirement.Keys]), set
// "security" to a list with {"key": []}. Protected keeps the requirements in the
// list, as alternatives.
//
// Protected panics if the operation's "responses" do not encode to a JSON object, or
// its "security" does not encode to a list of objects.
func Protected(operation map[string]any, anyOf ...string) map[string]any {
	operation = maps.Clone(operation)
	if operation == nil {
		operation = make(map[string]any)
	}
	responses := map[string]any{
		"400": reference("responses", bearerInvalidRequest),
		"401": reference("responses", bearerUnauthorized),
		"500": reference("responses", bearerServerError),
		"503": reference("responses", bearerUnavailable),
	}
	security := []object{{{"bearer", []string{}}}}
	if len(anyOf) > 0 {
		responses["403"] = reference("responses", bearerForbidden)
		security = nil
		for _, role := range anyOf {
			security = append(security, object{{"bearer", []string{role}}})
		}
	}
	security = append(security, requirements(operation["security"])...)
	maps.Copy(responses, members(operation["responses"]))
	operation["security"], operation["responses"] = security, responses
	return operation
}

// requirements returns the Security Requirement Objects of an operation.
func requirements(v any) (list []object) {
	b, err := encode(v)
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		panic("openapi: the security of an operation must encode to a list of JSON objects: " + err.Error())
	}
	return list
}

// members returns the members of a value that encodes to a JSON object, such as
// a gin.H or a struct.
func members(v any) map[string]any {
	switch v := v.(type) {
	case nil:
		return nil
	case map[string]any:
		return v
	}
	var o object
	b, err := encode(v)
	if err == nil {
		err = json.Unmarshal(b, &o)
	}
	if err != nil {
		panic("openapi: the responses of an operation must encode to a JSON object: " + err.Error())
	}
	m := make(map[string]any)
	for _, member := range o {
		m[member.name] = member.value
	}
	return m
}

// bearerAnswers returns the error responses of protected routes.
func (f *facts) bearerAnswers() []namedAnswer {
	scheme := wire.BearerChallenge(f.Realm, "", "")
	refused := func(code, description string) string { return wire.BearerChallenge(f.Realm, code, description) }
	message := func(r refusal, message string) member {
		return member{r.name, example(r.description, append(r.body(), member{"Message", message}))}
	}
	invalid := refusal{"invalid", wire.InvalidToken, wire.TokenInvalid}
	expired := refusal{"expired", wire.InvalidToken, wire.TokenExpired}
	replaced := refusal{"replaced", wire.InvalidToken, f.replacedToken()}
	malformed := wire.BearerMalformed
	if f.Places != nil {
		malformed = wire.TokenTwice
	}
	forbidden := object{
		message(refusal{"role", wire.InsufficientScope, wire.RoleMissing}, wire.Denied),
		message(refusal{"client", wire.InsufficientScope, wire.ClientNotAdmitted}, wire.Denied),
	}
	if f.Keys != nil {
		forbidden = append(forbidden, message(refusal{"key", wire.InsufficientScope, wire.KeyNotAdmitted}, wire.Denied))
	}
	challenge := wwwAuthenticate("The error insufficient_scope (RFC 6750 §3.1).", refused(wire.InsufficientScope, ""))
	if f.hasCookie() {
		challenge[0].value = challenge[0].value.(object).set("required", false) // a request from another site gets none
		forbidden = append(forbidden, message(refusal{"cross-site", wire.InvalidRequest, wire.FromAnotherSite}, wire.Denied))
	}
	answers := []namedAnswer{
		{"400", bearerInvalidRequest, answer{
			description: "The request has several Authorization headers or tokens.",
			headers:     wwwAuthenticate("The error (RFC 6750 §3.1).", refused(wire.InvalidRequest, malformed)),
			examples:    object{message(refusal{"malformed", wire.InvalidRequest, malformed}, malformed)},
		}},
		{"401", bearerUnauthorized, answer{
			description: "The access token is missing or invalid. Sign in and try again.",
			headers: wwwAuthenticate("Asks for an access token. If the request had one, names the error (RFC 6750 §3).",
				scheme, refused(wire.InvalidToken, invalid.description), refused(wire.InvalidToken, expired.description), refused(wire.InvalidToken, replaced.description)),
			examples: object{
				{"none", example("No access token", object{{"Message", wire.Denied}})},
				message(invalid, wire.Denied), message(expired, wire.Denied), message(replaced, wire.Denied),
			},
		}},
		{"403", bearerForbidden, answer{
			description: "The access token is valid, but does not permit this request.",
			headers:     challenge,
			examples:    forbidden,
		}},
		{"500", bearerServerError, answer{
			description: "An internal error of the server.",
			examples:    object{message(serverError, serverError.description)},
		}},
		{"503", bearerUnavailable, answer{
			description: "The server could not check the token. The token may be valid: keep it, and try again.",
			headers:     object{{"Retry-After", retryAfter}},
			examples:    object{message(unavailable, unavailable.description)},
		}},
	}
	for i := range answers {
		if f.ownErrors {
			answers[i].examples = nil
			continue
		}
		answers[i].schema = reference("schemas", "BearerError")
	}
	return answers
}

// bearerError returns the schema of an error response of a protected route. It has
// the members error and error_description (RFC 6749 §5.2), and Message, which
// clients of ASP.NET Web API read. The response to a request without credentials
// has only Message (RFC 6750 §3.1).
func bearerError() object {
	return object{
		{"type", "object"}, {"required", []string{"Message"}},
		{"properties", object{
			{"error", object{{"type", "string"}, {"enum", []string{wire.InvalidRequest, wire.InvalidToken, wire.InsufficientScope, wire.TemporarilyUnavailable, wire.ServerError}}}},
			{"error_description", object{{"type", "string"}}},
			{"Message", object{{"type", "string"}}},
		}},
		{"dependentRequired", object{{"error", []string{"error_description"}}}},
		{"additionalProperties", false},
	}
}
