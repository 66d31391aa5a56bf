package openapi

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// tokenPaths returns the paths of the token endpoint. The operations of the first
// path have a full description. The other paths have the same operations with a
// short description and other IDs, and the page hides them.
func (f *facts) tokenPaths() object {
	var paths object
	for i, path := range f.mounted.Token {
		item := object{{"post", f.tokenOperation("signIn", "post", i)}}
		if !f.DisableGET {
			item = append(item, member{"get", f.tokenOperation("signInByGet", "get", i)})
		}
		paths = append(paths, member{path, item})
	}
	return paths
}

func (f *facts) tokenOperation(id, method string, i int) object {
	first := f.mounted.Token[0]
	op := object{{"operationId", id}, {"tags", []string{tagToken}}}
	if i > 0 {
		op = object{
			{"operationId", id + strconv.Itoa(i+1)}, {"tags", []string{tagOtherUse}},
			{"x-internal", true},
		}
	}
	switch {
	case i > 0:
		op = append(op, object{{"summary", "The same as " + first}}...)
	case method == "get":
		op = append(op, object{{"summary", "Sign in, by GET"}, {"description", f.signInByGet()}, {"x-codeSamples", f.samples("signInByGet", first)}}...)
	default:
		op = append(op, object{{"summary", f.signInSummary()}, {"description", f.signIn()}, {"x-codeSamples", f.samples("signIn", first)}}...)
	}
	return append(op, object{
		{"security", f.clientSecurity()},
		{"requestBody", reference("requestBodies", "TokenRequest")},
		{"responses", references(f.tokenAnswers())},
	}...)
}

// clientSecurity returns the security requirements of an endpoint. It returns none
// if [tokenauth.Options.Clients] is nil, and otherwise optional Basic
// authentication of the client. Basic is optional because the client may send its
// credentials in the body, which OpenAPI cannot describe.
func (f *facts) clientSecurity() []object {
	if !f.clients() {
		return []object{}
	}
	return []object{{{"client", []string{}}}, {}}
}

func (f *facts) signIn() string {
	text := "Exchanges a user name and a password for an access token (RFC 6749 §4.3). The user's previous token" + f.place("this") + " becomes invalid.\n\n" +
		"**Returns** the access token, the times of its issue and expiry, and the user. " +
		"An unknown user, a wrong password and a disabled account get the same response. " +
		"If the password was right, but the server needs something else, such as a one-time code, a response with status 400 may have an `error` of the server's own.\n\n" +
		"**Authorization:** "
	if f.clients() {
		text += "each request names its client, either by Basic authentication with ID and secret, or by `client_id` and `client_secret` in the body, but not both. A public client has no secret and sends only `client_id`.\n\n"
	} else {
		text += "none. The user's credentials are in the body. If the body has neither `username` nor `password`, the server reads them from Basic authentication. `client_id` and `client_secret` are ignored.\n\n"
	}
	text += f.refreshGrant()
	text += "**Headers:** `Content-Type: application/x-www-form-urlencoded`. The server reads the body in this format whatever the header says, " +
		"so old clients that label it `application/json` keep working. The body must not be compressed.\n\n" +
		"**Body:** at most 8192 bytes and 32 parameters, in UTF-8. Unknown parameters are ignored. Names are not case-sensitive. " +
		"The server rejects credentials in the query, because access logs would contain them. It also rejects a query of more than 8192 bytes.\n\n" +
		"Each response has `Cache-Control: no-store`, `Pragma: no-cache` and `X-Content-Type-Options: nosniff`. Further headers are listed below."
	if others := f.mounted.Token[1:]; len(others) > 0 {
		text += "\n\nThe endpoint is also available at `" + strings.Join(others, "`, `") + "`."
	}
	return text
}

func (f *facts) signInByGet() string {
	return "The same as POST, with the same body, for clients of the original API.\n\n" +
		"A browser cannot send a GET with a body, so this page cannot try it out. POST above gives the same responses. " +
		"Some proxies drop the body of a GET, and then the response is 400. POST always works."
}

// tokenRequest returns the Request Body Object of the token endpoint.
func (f *facts) tokenRequest() object {
	properties := object{
		{"grant_type", f.grantType()},
		{"username", object{{"type", "string"}, {"minLength", 1}, {"maxLength", 256}, {"examples", []string{"username"}}, {"description", "1 to 256 bytes without control characters. Spaces are kept."}}},
		{"password", object{{"type", "string"}, {"format", "password"}, {"minLength", 1}, {"maxLength", 1024}, {"examples", []string{"password"}}, {"description", "1 to 1024 bytes without NUL."}}},
	}
	properties = append(properties, f.refreshProperties()...)
	if f.clients() {
		properties = append(properties, f.clientProperties()...)
	}
	if f.device() != "" {
		properties = append(properties, f.deviceProperties()...)
	}
	properties = append(properties, f.furtherProperties()...)
	example := object{{"grant_type", "password"}, {"username", "username"}, {"password", "password"}}
	schema := append(object{{"type", "object"}}, f.requiredParameters()...)
	return form("The user's credentials, URL-encoded.", append(schema, member{"properties", properties}), example)
}

// clientProperties returns the schemas of client_id and client_secret. By
// default they are empty, and the server treats an empty value as absent.
func (f *facts) clientProperties() object {
	return object{
		{"client_id", object{{"type", "string"}, {"default", ""}, {"maxLength", 256}, {"description", "The ID of the client, unless it uses Basic authentication."}}},
		{"client_secret", object{{"type", "string"}, {"format", "password"}, {"default", ""}, {"description", "The secret of the client, unless it uses Basic authentication or is public."}}},
	}
}

// deviceProperties returns the schemas of the parameters that name the device. As
// with client_id, an empty value is treated as absent.
func (f *facts) deviceProperties() object {
	return object{
		{f.device(), object{
			{"type", "string"}, {"default", ""}, {"maxLength", 64}, {"pattern", "^[ -~]*$"},
			{"description", "The ID of the device, which the client chooses once and keeps, so that sign-ins on other devices do not end its token."},
		}},
		{f.device() + "_name", object{
			{"type", "string"}, {"default", ""}, {"maxLength", 100},
			{"description", "A name of the device for people, of at most 100 bytes without control characters. If it is absent, the device keeps its name."},
		}},
	}
}

// furtherProperties returns the schemas of the parameters that
// [tokenauth.Options.Parameters] lists. As with client_id, an empty value is
// treated as absent.
func (f *facts) furtherProperties() (properties object) {
	for _, name := range f.Parameters {
		properties = append(properties, member{name, object{
			{"type", "string"}, {"format", "password"}, {"default", ""}, {"maxLength", wire.MaxParameter},
			{"description", "A further parameter of this server, such as a one-time code, of at most 1024 bytes without NUL."},
		}})
	}
	return properties
}

func form(description string, schema, example object) object {
	return object{
		{"description", description},
		{"required", true},
		{"content", object{{"application/x-www-form-urlencoded", object{{"schema", schema}, {"example", example}}}}},
	}
}

// expires describes the time at which a new token expires.
func (f *facts) expires() string {
	text := "When the token expires: " + lifetimeInWords(f.Lifetime) + " later"
	if f.clients() {
		text += ", unless the client has another lifetime"
	}
	if f.MaxLifetime != 0 {
		return text + "." + f.livesOn()
	}
	return text + ". The server rejects it from then on."
}

// tokenResponse returns the schema of the response to a successful sign-in.
func (f *facts) tokenResponse() object {
	text := func(description string) object { return object{{"type", "string"}, {"description", description}} }
	date := func(description string) object {
		return append(text(description), member{"pattern", "^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT$"})
	}
	properties := object{
		{"access_token", append(text("The access token, an opaque string. Send it as a bearer token."), member{"pattern", "^" + f.Prefix + "[A-Za-z0-9_-]+$"})},
		{"token_type", object{{"type", "string"}, {"const", "bearer"}}},
		{"expires_in", object{
			{"type", "integer"}, {"minimum", 0}, {"maximum", f.longest() - 1},
			{"description", "Whole seconds left when the token was issued, rounded down."},
		}},
	}
	if f.refreshes() {
		properties = append(properties, member{"refresh_token", append(text("The refresh token. Keep it as safe as a password, and replace it after each refresh."),
			member{"pattern", "^" + f.Refresh.Prefix + "[A-Za-z0-9_-]+$"})})
	}
	properties = append(properties, object{
		{"userName", text("The name of the account, as stored.")},
		{"userId", text("The identifier of the account, which never changes.")},
		{"role", text("The role of the account. Several roles are separated by commas.")},
		{".issued", date("When the token was issued.")},
		{".expires", date(f.expires())},
	}...)
	required := make([]string, len(properties))
	for i, p := range properties {
		required[i] = p.name
	}
	for _, name := range f.ResponseAttributes {
		properties = append(properties, member{name, text("An attribute of the account. Absent if the account has no value.")})
	}
	return object{{"type", "object"}, {"required", required}, {"properties", properties}, {"additionalProperties", false}}
}

func (f *facts) exampleTokenResponse() object {
	example := object{
		{"access_token", f.exampleToken()}, {"token_type", "bearer"}, {"expires_in", f.seconds() - 1},
	}
	if f.refreshes() {
		example = append(example, member{"refresh_token", f.exampleRefreshToken()})
	}
	example = append(example, object{
		{"userName", "username"}, {"userId", exampleUserID}, {"role", "Administrator"},
		{".issued", exampleIssued.Format(http.TimeFormat)}, {".expires", exampleIssued.Add(f.Lifetime).Format(http.TimeFormat)},
	}...)
	for _, name := range f.ResponseAttributes {
		example = append(example, member{name, "…"})
	}
	return example
}
