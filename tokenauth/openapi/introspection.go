package openapi

import "github.com/bearerkit/bearerkit/tokenauth/internal/wire"

// introspection returns the Path Item Object of the introspection endpoint
// (RFC 7662).
func (f *facts) introspection() object {
	return object{{"post", object{
		{"operationId", "introspect"}, {"tags", []string{tagToken}}, {"summary", "Introspect a token"},
		{"description", "Returns the user and the expiry of " + f.aToken() + " (RFC 7662).\n\n" +
			"**Returns** the user and the times of a valid token. For a token that is invalid, or that the client may not introspect, returns only `\"active\": false`.\n\n" +
			"**Authorization:** a client with a secret that may introspect, by Basic authentication or by `client_id` and `client_secret` in the body." + aboutForms},
		{"x-codeSamples", f.samples("introspect", f.mounted.Introspection)},
		{"security", f.clientSecurity()},
		{"requestBody", f.tokenForm("introspection")},
		{"responses", references(f.introspectionAnswers())},
	}}}
}

func (f *facts) introspectionAnswers() []namedAnswer {
	bad := append(f.badTokenForms(), refusal{"unauthorized_client", wire.UnauthorizedClient, wire.MayNotIntrospect})
	answers := []namedAnswer{
		{"200", "TokenIntrospected", answer{
			description: "The state of the token.",
			schema:      reference("schemas", "IntrospectionResponse"),
			examples:    f.introspectionExamples(),
		}},
		{"400", "IntrospectionRefused", refused("The request is malformed, or the client may not introspect.", bad...)},
	}
	return append(answers, f.tokenFormAnswers()...)
}

func (f *facts) introspectionResponse() object {
	text := func(description string) object { return object{{"type", "string"}, {"description", description}} }
	seconds := func(description string) object { return object{{"type", "integer"}, {"description", description}} }
	members := object{
		{"username", text("The name of the account, as stored.")},
		{"token_type", object{{"type", "string"}, {"const", "bearer"}}},
		{"exp", seconds("When the token expires, in seconds since 1970 (UTC).")},
		{"iat", seconds("When the token was issued, in seconds since 1970 (UTC).")},
		{"sub", text("The identifier of the account, which never changes.")},
		{"role", text("The role of the account. Several roles are separated by commas.")},
	}
	required := []string{"active"}
	for _, m := range members {
		required = append(required, m.name)
	}
	properties := append(object{
		{"active", object{{"type", "boolean"}, {"const", true}}},
		{"client_id", text("The client that the token was issued to.")},
	}, members...)
	for _, name := range f.ResponseAttributes {
		properties = append(properties, member{name, text("An attribute of the account. Absent if the account has no value.")})
	}
	states := []object{{{"title", "Active"}, {"type", "object"}, {"required", required}, {"properties", properties}, {"additionalProperties", false}}}
	if f.refreshes() {
		states = append(states, f.activeRefreshToken(properties))
	}
	return object{{"oneOf", append(states, object{
		{"title", "Inactive"}, {"type", "object"}, {"required", []string{"active"}},
		{"properties", object{{"active", object{{"type", "boolean"}, {"const", false}}}}}, {"additionalProperties", false},
	})}}
}

func (f *facts) introspectionExamples() object {
	examples := object{{"active", example("A valid token", f.exampleIntrospection())}}
	if f.refreshes() {
		examples = append(examples, member{"refresh_token", example("A valid refresh token", object{
			{"active", true}, {"client_id", "client"}, {"username", "username"},
			{"exp", exampleIssued.Add(f.Refresh.Lifetime).Unix()}, {"iat", exampleIssued.Unix()}, {"sub", exampleUserID},
		})})
	}
	return append(examples, member{"inactive", example("Any other token", object{{"active", false}})})
}

func (f *facts) exampleIntrospection() object {
	example := object{
		{"active", true}, {"client_id", "client"}, {"username", "username"}, {"token_type", "bearer"},
		{"exp", exampleIssued.Add(f.Lifetime).Unix()}, {"iat", exampleIssued.Unix()},
		{"sub", exampleUserID}, {"role", "Administrator"},
	}
	for _, name := range f.ResponseAttributes {
		example = append(example, member{name, "…"})
	}
	return example
}
