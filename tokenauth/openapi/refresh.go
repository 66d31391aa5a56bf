package openapi

import "github.com/bearerkit/bearerkit/tokenauth/internal/wire"

func (f *facts) refreshes() bool { return f.Refresh != nil }

func (f *facts) exampleRefreshToken() string { return f.Refresh.Prefix + "EXAMPLE_refresh_token" }

// refreshGrant describes the grant refresh_token at the token endpoint.
func (f *facts) refreshGrant() string {
	if !f.refreshes() {
		return ""
	}
	return "**Refresh:** with `grant_type=refresh_token` and `refresh_token`, exchanges a refresh token for a new access token and a new refresh token (RFC 6749 §6). " +
		"Both earlier tokens become invalid. Keep the new refresh token: each is used once. " +
		"If the answer was lost, repeat the request within " + lifetimeInWords(f.Refresh.Grace) + ", up to 3 times, and get the same tokens again. " +
		"A refresh token that is used again later ends the sign-in, because there may be a copy. " +
		"A refresh token is valid for " + lifetimeInWords(f.Refresh.Lifetime) + ", and the sign-in ends after " + lifetimeInWords(f.Refresh.MaxLifetime) + ".\n\n"
}

// isRefreshed says how to replace a token that is about to expire, or is "".
func (f *facts) isRefreshed() string {
	if !f.refreshes() {
		return ""
	}
	return " Before it expires, exchange the refresh token from the same response for new tokens."
}

func (f *facts) grantType() object {
	if !f.refreshes() {
		return object{{"type", "string"}, {"const", "password"}, {"default", "password"}, {"description", "The only supported grant."}}
	}
	return object{
		{"type", "string"}, {"enum", []string{"password", "refresh_token"}}, {"default", "password"},
		{"description", "The grant: a user name and a password, or a refresh token."},
	}
}

// refreshProperties returns the schema of the parameter refresh_token. As with
// client_id, an empty value is treated as absent.
func (f *facts) refreshProperties() object {
	if !f.refreshes() {
		return nil
	}
	return object{{"refresh_token", object{
		{"type", "string"}, {"format", "password"}, {"default", ""},
		{"description", "The refresh token, for the grant refresh_token. The user name and the password are then ignored."},
	}}}
}

// requiredParameters says which parameters the schema of a token request requires.
func (f *facts) requiredParameters() object {
	credentials := []string{"username", "password"}
	if !f.refreshes() {
		return object{{"required", append([]string{"grant_type"}, credentials...)}}
	}
	return object{
		{"required", []string{"grant_type"}},
		{"if", object{{"properties", object{{"grant_type", object{{"const", "refresh_token"}}}}}}},
		{"then", object{{"required", []string{"refresh_token"}}}},
		{"else", object{{"required", credentials}}},
	}
}

// refreshRefusals returns the errors with status 400 of the grant refresh_token.
func (f *facts) refreshRefusals() []refusal {
	if !f.refreshes() {
		return nil
	}
	return []refusal{
		{"invalid_refresh_token", wire.InvalidGrant, wire.RejectedRefresh},
		{"no_refresh_token", wire.InvalidRequest, wire.RefreshMissing},
	}
}

// unsupportedGrant is the error_description of any other grant.
func (f *facts) unsupportedGrant() string {
	if f.refreshes() {
		return wire.GrantTypeNeither
	}
	return wire.GrantTypeUnknown
}

// replacedToken is the error_description of protected routes for a token that a newer
// one replaced.
func (f *facts) replacedToken() string {
	if f.refreshes() {
		return wire.TokenSucceeded
	}
	return wire.TokenReplaced
}

// tokenHint describes the token_type_hint of revocation and introspection.
func (f *facts) tokenHint(of string) string {
	switch {
	case !f.refreshes():
		return "Ignored: the server has one type of token."
	case of == "introspection":
		return "With refresh_token, a refresh token may be active. Without it, only an access token is, so a resource server need not tell them apart."
	}
	return "Ignored: the server tells access tokens and refresh tokens apart."
}

// aToken names what can be revoked and introspected.
func (f *facts) aToken() string {
	if f.refreshes() {
		return "an access token or a refresh token"
	}
	return "an access token"
}

func (f *facts) theToken() string {
	if f.refreshes() {
		return "The access token or the refresh token."
	}
	return "The access token."
}

func (f *facts) revokesBoth() string {
	if f.refreshes() {
		return " Either token ends the sign-in, and so both tokens."
	}
	return ""
}

func (f *facts) signInSummary() string {
	if f.refreshes() {
		return "Sign in, or refresh"
	}
	return "Sign in"
}

// activeRefreshToken returns the schema of the introspection response for a valid
// refresh token. The argument has the members of the response for an access token.
func (f *facts) activeRefreshToken(properties object) object {
	var members object
	for _, name := range []string{"active", "client_id", "username", "exp", "iat", "sub"} {
		members = append(members, member{name, properties.get(name)})
	}
	return object{
		{"title", "Active refresh token"}, {"type", "object"}, {"required", []string{"active", "username", "exp", "iat", "sub"}},
		{"properties", members}, {"additionalProperties", false},
	}
}
