package openapi

import (
	"encoding/json"
	"maps"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// The answers of a guard, among the components of every description.
const (
	bearerInvalidRequest = "BearerInvalidRequest"
	bearerUnauthorized   = "BearerUnauthorized"
	bearerForbidden      = "BearerForbidden"
	bearerServerError    = "BearerServerError"
	bearerUnavailable    = "BearerUnavailable"
)

// Protected returns an operation of the host's, an Operation Object, with what
// a guard in front of it adds: that it needs an access token, and how it
// refuses. What the operation says itself about a status stays. With roles, of
// which the user needs one, a refusal for the lack of them is added.
//
// It panics if the "responses" of the operation do not encode to a JSON object.
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
	maps.Copy(responses, members(operation["responses"]))
	operation["security"], operation["responses"] = security, responses
	return operation
}

// members returns those of a value that encodes to an object: a map of whatever
// type, such as gin.H, or a struct.
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
		panic("openapi: responses of an operation: " + err.Error())
	}
	m := make(map[string]any)
	for _, member := range o {
		m[member.name] = member.value
	}
	return m
}

// bearerAnswers are what a guard says to those whom it does not let through.
func (f *facts) bearerAnswers() []namedAnswer {
	scheme := wire.BearerChallenge(f.Realm, "", "")
	refused := func(code, description string) string { return wire.BearerChallenge(f.Realm, code, description) }
	message := func(r refusal, message string) member {
		return member{r.name, example(r.description, append(r.body(), member{"Message", message}))}
	}
	invalid := refusal{"invalid", wire.InvalidToken, wire.TokenInvalid}
	expired := refusal{"expired", wire.InvalidToken, wire.TokenExpired}
	replaced := refusal{"replaced", wire.InvalidToken, wire.TokenReplaced}
	answers := []namedAnswer{
		{"400", bearerInvalidRequest, answer{
			description: "There are several Authorization headers or tokens.",
			headers:     wwwAuthenticate("What is wrong (RFC 6750 §3.1).", refused(wire.InvalidRequest, wire.BearerMalformed)),
			examples:    object{message(refusal{"malformed", wire.InvalidRequest, wire.BearerMalformed}, wire.BearerMalformed)},
		}},
		{"401", bearerUnauthorized, answer{
			description: "There is no access token, or it is not good: sign in, and try again.",
			headers: wwwAuthenticate("Asks for an access token, and says what is wrong with the one that was sent (RFC 6750 §3).",
				scheme, refused(wire.InvalidToken, invalid.description), refused(wire.InvalidToken, expired.description), refused(wire.InvalidToken, replaced.description)),
			examples: object{
				{"none", example("There is no access token.", object{{"Message", wire.Denied}})},
				message(invalid, wire.Denied), message(expired, wire.Denied), message(replaced, wire.Denied),
			},
		}},
		{"403", bearerForbidden, answer{
			description: "The access token is good, but not for this.",
			headers:     wwwAuthenticate("Says that another token might do (RFC 6750 §3.1).", refused(wire.InsufficientScope, "")),
			examples: object{
				message(refusal{"role", wire.InsufficientScope, wire.RoleMissing}, wire.Denied),
				message(refusal{"client", wire.InsufficientScope, wire.ClientNotAdmitted}, wire.Denied),
			},
		}},
		{"500", bearerServerError, answer{
			description: "A fault of the server.",
			examples:    object{message(serverError, serverError.description)},
		}},
		{"503", bearerUnavailable, answer{
			description: "The server could not look at the token. It says nothing about it: keep it, and try again.",
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

// bearerError has the members of RFC 6749 §5.2, and the one that clients of
// ASP.NET Web API know. Without credentials there is only that (RFC 6750 §3.1).
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
