package openapi

import (
	"net/http"
	"strconv"
	"strings"
)

// tokenPaths are those of the token endpoint. The operations of the first are
// described in full; clients that spell the path in another way get the same
// ones under other IDs, and the page leaves those out.
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
		op = append(op, object{{"summary", "Sign in"}, {"description", f.signIn()}, {"x-codeSamples", f.samples("signIn", first)}}...)
	}
	return append(op, object{
		{"security", f.clientSecurity()},
		{"requestBody", reference("requestBodies", "TokenRequest")},
		{"responses", references(f.tokenAnswers())},
	}...)
}

// clientSecurity is what an endpoint asks of its caller: nothing without a
// registry of clients; with one the client's Basic authentication, or its
// credentials in the body, which OpenAPI has no word for.
func (f *facts) clientSecurity() []object {
	if !f.clients() {
		return []object{}
	}
	return []object{{{"client", []string{}}}, {}}
}

func (f *facts) signIn() string {
	text := "Trades a user name and a password for an access token (RFC 6749 §4.3). The token that the user had before" + f.perClient() + " stops working.\n\n" +
		"**Returns** the access token, when it was issued and when it expires, and who signed in. " +
		"Unknown user, wrong password and disabled account get the same answer.\n\n" +
		"**Authorization:** "
	if f.clients() {
		text += "each request names its client, by Basic authentication with its ID and its secret, or by `client_id` and `client_secret` in the body, and not by both. A public client has no secret and sends its `client_id`.\n\n"
	} else {
		text += "none; the user's credentials are in the body. Where the body has neither `username` nor `password`, they may be in Basic authentication. `client_id` and `client_secret` are ignored.\n\n"
	}
	text += "**Headers:** `Content-Type: application/x-www-form-urlencoded`. The body is read as that whatever the header says, " +
		"so old clients that label it `application/json` keep working. It must not be compressed.\n\n" +
		"**Body:** at most 8192 bytes and 32 parameters, in UTF-8. Unknown parameters are ignored, and names match in any case. " +
		"Credentials in the query are refused: they would end up in access logs. So is a query of more than 8192 bytes.\n\n" +
		"Each answer has `Cache-Control: no-store`, `Pragma: no-cache` and `X-Content-Type-Options: nosniff`, and others as told below."
	if others := f.mounted.Token[1:]; len(others) > 0 {
		text += "\n\nThe same endpoint is at `" + strings.Join(others, "`, `") + "`."
	}
	return text
}

func (f *facts) signInByGet() string {
	return "The same as by POST, with the same body. Clients of the original API call it so.\n\n" +
		"A browser cannot send a GET with a body, so this page does not try it out: use POST above, which gives the same answers. " +
		"Some proxies drop the body of a GET, and then the answer is 400; POST works everywhere."
}

// tokenRequest is the body of a token request.
func (f *facts) tokenRequest() object {
	properties := object{
		{"grant_type", object{{"type", "string"}, {"const", "password"}, {"default", "password"}, {"description", "The only grant that there is."}}},
		{"username", object{{"type", "string"}, {"minLength", 1}, {"maxLength", 256}, {"examples", []string{"username"}}, {"description", "1 to 256 bytes without control characters; nothing is trimmed."}}},
		{"password", object{{"type", "string"}, {"format", "password"}, {"minLength", 1}, {"maxLength", 1024}, {"examples", []string{"password"}}, {"description", "1 to 1024 bytes without NUL."}}},
	}
	if f.clients() {
		properties = append(properties, f.clientProperties()...)
	}
	example := object{{"grant_type", "password"}, {"username", "username"}, {"password", "password"}}
	return form("The user's credentials, urlencoded.", object{
		{"type", "object"},
		{"required", []string{"grant_type", "username", "password"}},
		{"properties", properties},
	}, example)
}

// clientProperties are empty unless somebody fills them in: an empty value
// counts as left out.
func (f *facts) clientProperties() object {
	return object{
		{"client_id", object{{"type", "string"}, {"default", ""}, {"maxLength", 256}, {"description", "The client, unless it uses Basic authentication."}}},
		{"client_secret", object{{"type", "string"}, {"format", "password"}, {"default", ""}, {"description", "Its secret, unless it uses Basic authentication or is public."}}},
	}
}

func form(description string, schema, example object) object {
	return object{
		{"description", description},
		{"required", true},
		{"content", object{{"application/x-www-form-urlencoded", object{{"schema", schema}, {"example", example}}}}},
	}
}

// tokenResponse is the schema of a good answer.
func (f *facts) tokenResponse() object {
	text := func(description string) object { return object{{"type", "string"}, {"description", description}} }
	date := func(description string) object {
		return append(text(description), member{"pattern", "^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT$"})
	}
	properties := object{
		{"access_token", append(text("What to send as a bearer token. Opaque."), member{"pattern", "^" + f.Prefix + "[A-Za-z0-9_-]+$"})},
		{"token_type", object{{"type", "string"}, {"const", "bearer"}}},
		{"expires_in", object{
			{"type", "integer"}, {"minimum", 0}, {"maximum", f.seconds() - 1},
			{"description", "Whole seconds left when the token was issued, rounded down."},
		}},
		{"userName", text("The account's name as it is stored.")},
		{"userId", text("The account's identifier, which never changes.")},
		{"role", text("The account's role; several are joined by commas.")},
		{".issued", date("When the token was issued.")},
		{".expires", date("When it expires: " + lifetimeInWords(f.Lifetime) + " later. From then on it is refused.")},
	}
	required := make([]string, len(properties))
	for i, p := range properties {
		required[i] = p.name
	}
	for _, name := range f.ResponseAttributes {
		properties = append(properties, member{name, text("Of the account; left out if it has none.")})
	}
	return object{{"type", "object"}, {"required", required}, {"properties", properties}, {"additionalProperties", false}}
}

func (f *facts) exampleTokenResponse() object {
	example := object{
		{"access_token", f.exampleToken()}, {"token_type", "bearer"}, {"expires_in", f.seconds() - 1},
		{"userName", "username"}, {"userId", exampleUserID}, {"role", "Administrator"},
		{".issued", exampleIssued.Format(http.TimeFormat)}, {".expires", exampleIssued.Add(f.Lifetime).Format(http.TimeFormat)},
	}
	for _, name := range f.ResponseAttributes {
		example = append(example, member{name, "…"})
	}
	return example
}
