package tokenauth

import (
	"bytes"
	"encoding/base64"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

const (
	maxBodySize   = 8 << 10
	maxParameters = 32

	// maxContentType is in bytes. A media type of a body that is read here has a
	// few dozen.
	maxContentType = 256
)

// maxBasic is the maximum length of Basic authentication, encoded. Decoded it is
// as long as a body may be.
var maxBasic = base64.StdEncoding.EncodedLen(maxBodySize)

// checkContentHeaders refuses bodies that are not urlencoded text, as far as
// their headers can be believed. The label "application/json" says nothing:
// the documented call has it. Nor does one that is doubled, cannot be read, or is
// too long to be read.
func checkContentHeaders(h http.Header, wrongEncoding string) *ErrorResponse {
	if slices.ContainsFunc(h["Content-Encoding"], func(s string) bool { return s != "" && !strings.EqualFold(s, "identity") }) {
		refusal := early(http.StatusUnsupportedMediaType, wire.BodyCompressed)
		refusal.header = http.Header{"Accept-Encoding": {"identity"}}
		return refusal
	}
	labels := h["Content-Type"]
	if len(labels) != 1 || len(labels[0]) > maxContentType {
		return nil
	}
	mediaType, params, err := mime.ParseMediaType(labels[0])
	if err != nil {
		return nil
	}
	if mediaType == "multipart/form-data" {
		return early(http.StatusBadRequest, wrongEncoding)
	}
	switch strings.ToLower(params["charset"]) {
	case "", "utf-8", "utf8", "us-ascii":
		return nil
	}
	return early(http.StatusBadRequest, wire.BodyCharset)
}

// A userPass is what an Authorization header of the Basic scheme holds.
type userPass struct{ user, pass string }

// parseAuthorization reads the Authorization lines of a token request. It
// returns nil for none and for other schemes: interceptors of clients add
// stale bearer tokens. It reports false for a Basic line that is malformed or
// longer than maxBasic, and for more lines than one.
func parseAuthorization(lines []string) (*userPass, bool) {
	const scheme = "Basic"
	if len(lines) == 0 {
		return nil, true
	}
	if len(lines) > 1 {
		return nil, false
	}
	if !hasPrefixFold(lines[0], scheme) {
		return nil, true
	}
	rest := lines[0][len(scheme):]
	if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return nil, true // another scheme that begins with the same letters
	}
	encoded := strings.Trim(rest, " ")
	if len(encoded) > maxBasic {
		return nil, false
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, false
	}
	text := string(decoded)
	if !utf8.ValidString(text) {
		// RFC 7617 leaves the charset open; three common client libraries
		// send ISO-8859-1, in which every byte is the code point itself.
		latin1 := make([]rune, len(decoded))
		for i, b := range decoded {
			latin1[i] = rune(b)
		}
		text = string(latin1)
	}
	user, pass, ok := strings.Cut(text, ":")
	if !ok || strings.ContainsFunc(text, unicode.IsControl) {
		return nil, false
	}
	return &userPass{user, pass}, true
}

// parseTokenRequest reads the body of a token request, and takes the user from
// Basic authentication where the body names neither user nor password.
func parseTokenRequest(body []byte, basic *userPass) (Credentials, *ErrorResponse) {
	form, refusal := parseForm(body, "grant_type", wire.SendTokenRequest, tokenParameters)
	if refusal != nil {
		return Credentials{}, refusal
	}
	bad := func(description string) (Credentials, *ErrorResponse) {
		return Credentials{}, invalidRequest(http.StatusBadRequest, description)
	}
	switch form["grant_type"] {
	case "password":
	case "":
		return bad(wire.GrantTypeMissing)
	default:
		return Credentials{}, &ErrorResponse{
			Status:      http.StatusBadRequest,
			Code:        wire.UnsupportedGrantType,
			Description: wire.GrantTypeUnknown,
			Err:         errMalformed,
		}
	}
	username, password := form["username"], form["password"]
	// Never half from here and half from there: a wrong password in the body
	// must not fall back to the header.
	if basic != nil && username == "" && password == "" {
		username, password = basic.user, basic.pass
	}
	switch {
	case username == "":
		return bad(wire.UserNameMissing)
	case password == "":
		return bad(wire.PasswordMissing)
	case len(username) > 256:
		return bad(wire.UserNameTooLong)
	case strings.ContainsFunc(username, unicode.IsControl):
		return bad(wire.UserNameControls)
	}
	return Credentials{
		UserName: username, Password: NewSecret(password),
		ClientID: form["client_id"], ClientSecret: NewSecret(form["client_secret"]),
	}, nil
}

// tokenParameters are those of a token request that must not be doubled (RFC
// 6749 §3.2).
var tokenParameters = []string{"grant_type", "username", "password", "client_id", "client_secret"}

// parseForm reads a form that has to have the parameter. JSON may break any of
// the rules, and its sender needs to hear which it did not know of.
func parseForm(body []byte, required, wrongEncoding string, known []string) (map[string]string, *ErrorResponse) {
	form, refusal := parseURLEncoded(body, known)
	if (refusal != nil || form[required] == "") && bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		return nil, invalidRequest(http.StatusBadRequest, wrongEncoding)
	}
	return form, refusal
}

// parseURLEncoded reads application/x-www-form-urlencoded text, and keeps the
// known parameters under their lower-case names. An empty value counts as left
// out.
func parseURLEncoded(body []byte, known []string) (map[string]string, *ErrorResponse) {
	bad := func(description string) (map[string]string, *ErrorResponse) {
		return nil, invalidRequest(http.StatusBadRequest, description)
	}
	form := make(map[string]string, len(known))
	count := 0
	for pair := range strings.SplitSeq(string(body), "&") {
		if pair == "" {
			continue
		}
		if count++; count > maxParameters {
			return bad(wire.TooManyParameters)
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil || strings.Contains(pair, ";") {
			return bad(wire.BodyMalformed)
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			return bad(wire.BodyMalformed)
		}
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return bad(wire.ParametersNotUTF8)
		}
		if strings.ContainsFunc(name, unicode.IsControl) || strings.Contains(value, "\x00") {
			return bad(wire.ParameterControls)
		}
		name = asciiLower(name)
		if !slices.Contains(known, name) {
			continue
		}
		if _, double := form[name]; double {
			return bad(wire.ParameterTwice)
		}
		form[name] = value
	}
	return form, nil
}

// asciiLower folds ASCII letters only: strings.EqualFold would also take the
// long s for an s, and so another spelling of "password" for the parameter.
func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}

// hasPrefixFold is strings.HasPrefix with ASCII letters in any case.
func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && (s[:len(prefix)] == prefix || strings.EqualFold(s[:len(prefix)], prefix))
}
