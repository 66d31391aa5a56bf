package main

import (
	"regexp"
	"strings"
)

// A knownDifference is a row in the tables of the README.
type knownDifference struct {
	row   string   // first column of the row
	cases string   // regular expression for the names of the cases; empty matches all
	on    string   // prefix of the path, in lower case; empty matches all
	are   []string // regular expressions, each for a whole difference
}

func (k knownDifference) explains(e exchange, difference string) bool {
	path := strings.ToLower(strings.Fields(e.Send.Request)[1])
	return strings.HasPrefix(path, k.on) && matches(k.cases, e.Name) &&
		matches(`^(`+strings.Join(k.are, "|")+`)$`, difference)
}

var compiled = map[string]*regexp.Regexp{}

func matches(pattern, s string) bool {
	if compiled[pattern] == nil {
		compiled[pattern] = regexp.MustCompile(pattern)
	}
	return compiled[pattern].MatchString(s)
}

const (
	invalid          = `invalid_token: The access token (is invalid|has expired)\. DENIED`
	several          = `The request needs one Authorization header with one bearer token\.`
	own              = `\{"userId":"[^"]+","userName":"[^"]+"\}`
	becomesAnonymous = `200 \{"running":true,"userName":"Alice"\} → 200 \{"running":true,"userName":""\}`
	newChallenge     = `WWW-Authenticate:  → Bearer realm="api", error=`
)

// ginNotFound are the differences if Gin answers 404 and the original answered
// otherwise.
var ginNotFound = []string{
	`(200 TOKEN|200 ` + own + `|405 \{.*\}) → 404 (page not found)?`,
	`Content-Type: application/json.* → text/plain`,
	`(Cache-Control|Pragma): no-cache → `,
	`Allow: GET → `,
}

var known = []knownDifference{
	{row: "a second sign-in", cases: "token from before a second sign-in", are: []string{
		`200 ` + own + ` → 401 invalid_token: The access token was replaced by a newer sign-in\. DENIED`,
		newChallenge + `"invalid_token", error_description="The access token was replaced by a newer sign-in\."`,
		becomesAnonymous,
	}},
	{row: "a user who was deleted, is locked out, or has another password or other roles", cases: "^token (of a user who|from before a change|of a user whose)", are: []string{
		`200 ` + own + ` → 401 ` + invalid,
		newChallenge + `"invalid_token", error_description="The access token is invalid\."`,
	}},
	{row: "a locked-out user who signs in", cases: "^user who is locked out", are: []string{`200 TOKEN → 400 invalid_grant: INCORRECT`}},
	{row: "many wrong passwords", are: []string{
		`200 TOKEN → 429 temporarily_unavailable: Too many failed sign-ins\. Try again later\.`,
		`Retry-After:  → [0-9]+`,
	}},
	{row: "a missing role", are: []string{
		`401 DENIED → 403 insufficient_scope: The user does not have the role that this needs\. DENIED`,
		`WWW-Authenticate: Bearer → Bearer realm="api", error="insufficient_scope"`,
	}},
	{row: "a role with a comma in its name", are: []string{`200 TOKEN → 500 server_error: The server met an unexpected condition\.`}},
	{row: "upper and lower case of letters like `ü` in a user name", cases: "^upper-case umlaut$", are: []string{`200 TOKEN → 400 invalid_grant: INCORRECT`}},

	{row: "other methods than GET and POST", on: "/token", are: []string{
		`(200 TOKEN|400 unsupported_grant_type) → 405 (invalid_request: The token endpoint does not answer this method\.)?`,
		`Allow:  → GET, POST`,
	}},
	{row: "other methods than GET and POST", cases: "^method (FOO|post in lower case)$", are: ginNotFound},
	{row: "other spellings of the path than `/Token` and `/token`, such as `/TOKEN`", cases: "^path ", are: ginNotFound},
	{row: "`username`, `password`, `grant_type`, `client_id` or a token in the query", are: []string{
		`(200 TOKEN|400 unsupported_grant_type) → 400 invalid_request: Credentials belong in the body, never in the query\.`,
	}},
	{row: "no `grant_type`, or an empty one", are: []string{`400 unsupported_grant_type → 400 invalid_request: The parameter grant_type is missing\.`}},
	{row: "another `grant_type` than `password`", are: []string{
		`(400 (unsupported_grant_type|unauthorized_client|invalid_grant)|500 ) → 400 unsupported_grant_type: The grant type must be password\.`,
	}},
	{row: "no `username` or `password`, or an empty one", are: []string{
		`(500 |400 invalid_grant: INCORRECT) → 400 invalid_request: The parameter (username|password) is missing\.`,
	}},
	{row: "a parameter twice", are: []string{
		`400 (unsupported_grant_type|invalid_grant: INCORRECT) → 400 invalid_request: A parameter is given twice\.`,
	}},
	{row: "a parameter twice", cases: "^client_id twice$", are: []string{`200 TOKEN → 400 invalid_request: A parameter is given twice\.`}},
	{row: "a body that is JSON or labelled `multipart/form-data`", are: []string{
		`(200 TOKEN|400 unsupported_grant_type) → 400 invalid_request: Send the parameters urlencoded in the body: .*`,
	}},
	{row: "UTF-16 and UTF-32 with a byte order mark", cases: "^UTF-(16|32)", are: []string{`200 TOKEN → 400 invalid_request: The parameters are not UTF-8\.`}},
	{row: "bytes that are not UTF-8, percent-encoded or not", are: []string{`400 invalid_grant: INCORRECT → 400 invalid_request: The parameters are not UTF-8\.`}},
	{row: "bytes that are not UTF-8, percent-encoded or not", cases: "^bytes that are no UTF-8 in a parameter that is not known$", are: []string{`200 TOKEN → 400 invalid_request: The parameters are not UTF-8\.`}},
	{row: "a byte order mark that does not begin the body", are: []string{`(400 unsupported_grant_type|500 ) → 400 invalid_request: A byte order mark may only begin the body\.`}},
	{row: "NUL; other control characters in a name or in `username`", cases: "^(NUL|control character in (the user|a) name|line break in a name)", are: []string{
		`(200 TOKEN|400 invalid_grant: INCORRECT) → 400 invalid_request: The parameters have control characters\.`,
		`400 invalid_grant: INCORRECT → 400 invalid_request: The parameter username has control characters\.`,
	}},
	{row: "a body of more than 8 KiB, more than 32 parameters, a `username` of more than 256 bytes, a password of more than 1024", are: []string{
		`200 TOKEN → 413 invalid_request: The body has more than 8192 bytes\.`,
		`200 TOKEN → 400 invalid_request: There are more than 32 parameters\.`,
		`400 invalid_grant: INCORRECT → 400 invalid_request: The parameter username has more than 256 bytes\.`,
	}},
	{row: "a body of more than 8 KiB, more than 32 parameters, a `username` of more than 256 bytes, a password of more than 1024", cases: "^password of 1025 bytes that is right$", are: []string{
		`200 TOKEN → 400 invalid_grant: INCORRECT`,
	}},
	{row: "`Content-Encoding: gzip`", cases: "^Content-Encoding: gzip$", are: []string{`200 TOKEN → 415 invalid_request: The body must not be compressed\.`}},
	{row: "name and password by Basic, and `grant_type=password` in the body", cases: "^Basic .*and a grant type", are: []string{
		`500  → (200 TOKEN|400 invalid_grant: INCORRECT|400 invalid_request: The Authorization header is malformed, or there are several\.)`,
	}},
	{row: "two `Authorization` headers", on: "/token", are: []string{`200 TOKEN → 400 invalid_request: The Authorization header is malformed, or there are several\.`}},

	{row: "several tokens or `Authorization` headers, a space in the token, a tab behind `Bearer`", cases: "tab behind the scheme|object Object|scheme twice|token and a |token twice|two tokens|two (Authorization )?headers", are: []string{
		`(401 DENIED|200 ` + own + `) → 400 invalid_request: ` + several + ` ` + several,
		`WWW-Authenticate: (Bearer)? → Bearer realm="api", error="invalid_request", error_description="` + several + `"`,
	}},
	{row: "several tokens or `Authorization` headers, a space in the token, a tab behind `Bearer`", cases: "^open route, two Authorization headers$", are: []string{becomesAnonymous}},
	{row: "other spellings of the paths of your own routes, and methods that they do not have", on: "/api/", are: ginNotFound},
	{row: "other spellings of the paths of your own routes, and methods that they do not have", cases: "^route //api/values ", are: ginNotFound},
	{row: "other spellings of the paths of your own routes, and methods that they do not have", cases: "^route /api/values/ ", are: []string{
		`200 ` + own + ` → 301 <a href="/api/values">Moved Permanently</a>\.`,
		`Content-Type: application/json; charset=utf-8 → text/html; charset=utf-8`,
		`Location:  → /api/values`,
	}},
	{row: "an unknown path", are: []string{
		`404 (\{"Message":"No HTTP resource was found .*\})? → 404 page not found`,
		`Content-Type:  → text/plain(; charset=utf-8)?`,
	}},

	{row: "the body of a 401 for a token that is not valid", are: []string{`401 DENIED → 401 ` + invalid}},
	{row: "`WWW-Authenticate`", are: []string{
		`WWW-Authenticate: Bearer → Bearer realm="api"(, error="invalid_token", error_description="The access token (is invalid|has expired)\.")?`,
	}},
	{row: "a refusal to a client that accepts XML, such as a browser", are: []string{
		`401 <Error><Message>DENIED</Message></Error> → (401 DENIED|403 insufficient_scope: .* DENIED)`,
		`Content-Type: application/xml; charset=utf-8 → application/json;charset=UTF-8`,
	}},
	{row: "`Content-Type` of a refusal by a protected route", on: "/api/", are: []string{`Content-Type: application/json; charset=utf-8 → application/json;charset=UTF-8`}},
	{row: "`Cache-Control` and `Expires` of `/Token`", are: []string{`Cache-Control: no-cache → no-store`, `Expires: -1 → `}},
	{row: "`Cache-Control` and `Pragma` of a refusal by a protected route", on: "/api/", are: []string{`Cache-Control:  → no-store`, `Pragma:  → no-cache`}},
	{row: "`Cache-Control` of an answer to a token", on: "/api/", are: []string{`Cache-Control:  → private`}},
	{row: "`Vary` of protected and optional routes", on: "/api/", are: []string{`Vary:  → Authorization`}},
	{row: "`Set-Cookie` of a sign-in", are: []string{`Set-Cookie: \.AspNet\.Cookies=…; path=/; HttpOnly → `}},
	{row: "a 500 of the old application", on: "/token", are: []string{
		`Cache-Control:  → no-store`, `Pragma:  → no-cache`, `Content-Type:  → application/json;charset=UTF-8`,
	}},
}
