package openapi

import "github.com/bearerkit/bearerkit/tokenauth/internal/wire"

// revocation returns the Path Item Object of the revocation endpoint (RFC 7009).
func (f *facts) revocation() object {
	description := "Revokes " + f.aToken() + " (RFC 7009). The response is the same for a token that was already invalid." + f.revokesBoth() + "\n\n" +
		"**Returns** an empty object once the token is invalid.\n\n**Authorization:** "
	if f.clients() {
		description += "the client that the token was issued to, by Basic authentication or by `client_id` and `client_secret` in the body."
	} else {
		description += "none. Possession of the token is enough to revoke it."
	}
	return object{{"post", object{
		{"operationId", "revoke"}, {"tags", []string{tagToken}}, {"summary", "Revoke a token"},
		{"description", description + aboutForms},
		{"x-codeSamples", f.samples("revoke", f.mounted.Revocation)},
		{"security", f.clientSecurity()},
		{"requestBody", f.tokenForm("revocation")},
		{"responses", references(f.revocationAnswers())},
	}}}
}

const aboutForms = "\n\n**Headers:** `Content-Type: application/x-www-form-urlencoded`.\n\n**Body:** at most 8192 bytes and 32 parameters, in UTF-8."

// tokenForm returns the Request Body Object of revocation and introspection.
func (f *facts) tokenForm(of string) object {
	properties := object{
		{"token", object{{"type", "string"}, {"minLength", 1}, {"examples", []string{f.exampleToken()}}, {"description", f.theToken()}}},
		{"token_type_hint", object{{"type", "string"}, {"default", ""}, {"description", f.tokenHint(of)}}},
	}
	if f.clients() {
		properties = append(properties, f.clientProperties()...)
	}
	return form("The token, URL-encoded.", object{
		{"type", "object"}, {"required", []string{"token"}}, {"properties", properties},
	}, object{{"token", f.exampleToken()}})
}

func (f *facts) revocationAnswers() []namedAnswer {
	bad := f.badTokenForms()
	if f.clients() {
		bad = append(bad, refusal{"unauthorized_client", wire.UnauthorizedClient, wire.TokenOfAnotherClient})
	}
	answers := []namedAnswer{
		{"200", "TokenRevoked", answer{
			description: "The token is invalid from now on.",
			schema:      object{{"type", "object"}, {"additionalProperties", false}},
			examples:    object{{"revoked", example("Revoked", object{})}},
		}},
		{"400", "RevocationRefused", refused("The request is malformed, or the token belongs to another client.", bad...)},
	}
	return append(answers, f.tokenFormAnswers()...)
}

func (f *facts) badTokenForms() []refusal {
	refusals := append([]refusal{{"no_token", wire.InvalidRequest, wire.TokenMissing}},
		f.badForms(wire.SendToken)...)
	if f.clients() {
		refusals = append(refusals, invalidClient)
	}
	return refusals
}

// tokenFormAnswers returns the answers that revocation and introspection share.
func (f *facts) tokenFormAnswers() []namedAnswer {
	var answers []namedAnswer
	if f.clients() {
		answers = append(answers, namedAnswer{"401", "ClientUnauthorized", f.clientUnauthorized()})
	}
	answers = append(answers, namedAnswer{"405", "TokenPostOnly", refused("The method is not POST.",
		refusal{"method_not_allowed", wire.InvalidRequest, wire.PostOnly}).with("Allow", allow("POST"))})
	answers = append(answers, f.bodyAnswers()...)
	return append(answers, serverErrorAnswers()...)
}
