package openapi

import "slices"

// components returns the Components Object. The host's own operations may also
// refer to its members.
func (f *facts) components() object {
	schemas := object{
		{"TokenResponse", f.tokenResponse()},
		{"TokenError", f.tokenError()},
	}
	if !f.ownErrors {
		schemas = append(schemas, member{"BearerError", bearerError()})
	}
	answers := slices.Concat(f.tokenAnswers(), f.bearerAnswers())
	if f.mounted.Revocation != "" {
		answers = append(answers, f.revocationAnswers()...)
	}
	if f.mounted.Introspection != "" {
		schemas = append(schemas, member{"IntrospectionResponse", f.introspectionResponse()})
		answers = append(answers, f.introspectionAnswers()...)
	}
	var responses object
	for _, a := range answers {
		responses = responses.set(a.name, a.response()) // set, since several operations have the same response
	}
	return object{
		{"schemas", schemas},
		{"responses", responses},
		{"requestBodies", object{{"TokenRequest", f.tokenRequest()}}},
		{"headers", headers()},
		{"securitySchemes", f.securitySchemes()},
	}
}

func (f *facts) securitySchemes() object {
	schemes := object{{"bearer", f.tokenScheme()}}
	if f.Keys != nil {
		schemes = append(schemes, member{"key", f.keyScheme()})
	}
	if f.clients() {
		schemes = append(schemes, member{"client", object{
			{"type", "http"}, {"scheme", "basic"},
			{"description", "The ID and the secret of a client, not of a user (RFC 6749 §2.3.1)."},
		}})
	}
	return schemes
}
