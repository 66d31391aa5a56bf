package openapi

import "github.com/bearerkit/bearerkit/tokenauth/internal/wire"

// introspection is the path item of the introspection endpoint (RFC 7662).
func (f *facts) introspection() object {
	return object{{"post", object{
		{"operationId", "introspect"}, {"tags", []string{tagToken}}, {"summary", "Ask about a token"},
		{"description", "Tells what an access token stands for (RFC 7662).\n\n" +
			"**Returns** who signed in and until when the token is good. Of a token that is not good, or that the client may not know of, only that it is not active.\n\n" +
			"**Authorization:** a client with a secret that may introspect, by Basic authentication or by `client_id` and `client_secret` in the body." + aboutForms},
		{"x-codeSamples", f.samples("introspect", f.mounted.Introspection)},
		{"security", f.clientSecurity()},
		{"requestBody", f.tokenForm()},
		{"responses", references(f.introspectionAnswers())},
	}}}
}

func (f *facts) introspectionAnswers() []namedAnswer {
	bad := append(f.badTokenForms(), refusal{"unauthorized_client", wire.UnauthorizedClient, wire.MayNotIntrospect})
	answers := []namedAnswer{
		{"200", "TokenIntrospected", answer{
			description: "What the token stands for.",
			schema:      reference("schemas", "IntrospectionResponse"),
			examples: object{
				{"active", example("A good token", f.exampleIntrospection())},
				{"inactive", example("Any other", object{{"active", false}})},
			},
		}},
		{"400", "IntrospectionRefused", refused("The request is malformed, or the client may not introspect.", bad...)},
	}
	return append(answers, f.tokenFormAnswers()...)
}

func (f *facts) introspectionResponse() object {
	text := func(description string) object { return object{{"type", "string"}, {"description", description}} }
	seconds := func(description string) object { return object{{"type", "integer"}, {"description", description}} }
	members := object{
		{"username", text("The account's name as it is stored.")},
		{"token_type", object{{"type", "string"}, {"const", "bearer"}}},
		{"exp", seconds("When the token expires, in seconds since 1970 (UTC).")},
		{"iat", seconds("When it was issued, likewise.")},
		{"sub", text("The account's identifier, which never changes.")},
		{"role", text("The account's role; several are joined by commas.")},
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
		properties = append(properties, member{name, text("Of the account; left out if it has none.")})
	}
	return object{{"oneOf", []object{
		{{"title", "Active"}, {"type", "object"}, {"required", required}, {"properties", properties}, {"additionalProperties", false}},
		{
			{"title", "Inactive"}, {"type", "object"}, {"required", []string{"active"}},
			{"properties", object{{"active", object{{"type", "boolean"}, {"const", false}}}}}, {"additionalProperties", false},
		},
	}}}
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
