package tokenauth

import (
	"bytes"
	"maps"
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

	// maxContentType is the maximum length in bytes of a Content-Type that is
	// parsed. The media type of a form is a few dozen bytes long.
	maxContentType = 256

	byteOrderMark = "\ufeff"
)

// checkContentHeaders refuses a body if the headers say that it is compressed
// or multipart. It accepts a form with any other Content-Type, because clients
// often send a wrong one. Some clients send "application/json", because their
// documentation does. Common client libraries add the charset ISO-8859-1 by
// default. checkContentHeaders ignores a Content-Type that is repeated,
// malformed or too long.
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
	if mediaType, _, err := mime.ParseMediaType(labels[0]); err == nil && mediaType == "multipart/form-data" {
		return early(http.StatusBadRequest, wrongEncoding)
	}
	return nil
}

// A formBody is the body of a request. It has either the text of the body, or
// the form that the host's code has already parsed from it
// ([http.Request.ParseForm]).
type formBody struct {
	text   []byte
	parsed url.Values
	cut    bool // the text is shorter than the Content-Length
}

// parameters returns the known parameters of the body, by lower-case name.
func (b *formBody) parameters(known []string) (map[string]string, *ErrorResponse) {
	p := &parameters{known: known, values: make(map[string]string, len(known))}
	if b.parsed != nil {
		return p.values, p.addParsed(b.parsed)
	}
	return p.values, p.addText(b.text)
}

// looksLikeJSON reports whether the body begins like a JSON object.
func (b *formBody) looksLikeJSON() bool {
	begins := func(text []byte) bool {
		return bytes.HasPrefix(bytes.TrimSpace(bytes.TrimPrefix(text, []byte(byteOrderMark))), []byte("{"))
	}
	for name := range b.parsed {
		if begins([]byte(name)) {
			return true
		}
	}
	return begins(b.text)
}

// parameters collects the known parameters of a form, and checks all
// parameters. A parameter with an empty value counts as missing.
type parameters struct {
	known  []string
	values map[string]string
	count  int
}

// addText adds application/x-www-form-urlencoded text. It accepts everything
// that ASP.NET Katana accepts, since many clients build the body by joining
// strings and do not escape them correctly.
func (p *parameters) addText(text []byte) *ErrorResponse {
	if bytes.IndexByte(text[:min(4, len(text))], 0) >= 0 {
		return invalidRequest(http.StatusBadRequest, wire.ParametersNotUTF8) // UTF-16 or UTF-32
	}
	text = bytes.TrimPrefix(text, []byte(byteOrderMark))
	for pair := range strings.SplitSeq(string(text), "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name = strings.TrimLeftFunc(name, unicode.IsSpace)
		if refusal := p.add(unescape(name), unescape(value)); refusal != nil {
			return refusal
		}
	}
	return nil
}

// addParsed adds a form that [http.Request.ParseForm] has parsed. The form no
// longer shows in which order the parameters were, or how they were encoded. A
// byte order mark is valid at the start of the body, that is, before the first
// name. As any name may have been the first, addParsed removes one byte order
// mark, from whichever name has it. It also removes leading white space from
// names, even if the white space was percent-encoded.
func (p *parameters) addParsed(form url.Values) *ErrorResponse {
	size, count := 0, 0
	for name, values := range form {
		count += len(values)
		for _, value := range values {
			size += len(name) + len(value) + len("&")
			if value != "" {
				size += len("=")
			}
		}
	}
	// The body had at least size-1 bytes, because escapes only make a body
	// longer.
	switch {
	case size-len("&") > maxBodySize:
		return invalidRequest(http.StatusRequestEntityTooLarge, wire.BodyTooLarge)
	case count > maxParameters:
		return invalidRequest(http.StatusBadRequest, wire.TooManyParameters)
	}
	marked := false
	for _, name := range slices.Sorted(maps.Keys(form)) {
		for _, value := range form[name] {
			name := name
			if !marked {
				name, marked = strings.CutPrefix(name, byteOrderMark)
			}
			if refusal := p.add(strings.TrimLeftFunc(name, unicode.IsSpace), value); refusal != nil {
				return refusal
			}
		}
	}
	return nil
}

// add checks a decoded parameter, and stores it if its name is known.
func (p *parameters) add(name, value string) *ErrorResponse {
	bad := func(description string) *ErrorResponse {
		return invalidRequest(http.StatusBadRequest, description)
	}
	p.count++
	switch {
	case p.count > maxParameters:
		return bad(wire.TooManyParameters)
	case !utf8.ValidString(name) || !utf8.ValidString(value):
		return bad(wire.ParametersNotUTF8)
	case strings.HasPrefix(name, byteOrderMark):
		return bad(wire.ByteOrderMark)
	case strings.ContainsFunc(name, unicode.IsControl) || strings.Contains(value, "\x00"):
		return bad(wire.ParameterControls)
	}
	name = asciiLower(name)
	if !slices.Contains(p.known, name) {
		return nil
	}
	if _, double := p.values[name]; double {
		return bad(wire.ParameterTwice)
	}
	p.values[name] = value
	return nil
}

// unescape decodes a name or a value. It keeps a percent sign that is not
// followed by two hexadecimal digits.
func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			c = ' '
		} else if escaped, ok := escapedAt(s, i); ok {
			c = escaped
			i += 2
		}
		b = append(b, c)
	}
	return string(b)
}

// asciiLower converts only ASCII letters to lower case. [strings.EqualFold]
// would also match the letter "ſ" with "s", and so accept "paſſword" as a
// second spelling of the parameter "password".
func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}
