package tokenauth

import (
	"encoding/base64"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// lenient decodes one pair with package url as the contract requires. A percent
// sign without two hex digits stands for itself, and white space before the
// name is ignored.
func lenient(pair string) url.Values {
	pair = regexp.MustCompile("%([0-9A-Fa-f]{2})?").ReplaceAllStringFunc(strings.TrimLeftFunc(pair, unicode.IsSpace), func(s string) string {
		if s == "%" {
			return "%25"
		}
		return s
	})
	values, err := url.ParseQuery(strings.ReplaceAll(pair, ";", "%3B"))
	if err != nil {
		panic(err)
	}
	if len(values) == 0 {
		values.Set("", "")
	}
	return values
}

// reasonToRefuse returns why a form must be refused, or "" if it must not.
func reasonToRefuse(values url.Values) string {
	count := 0
	given := make(map[string]int)
	for name, all := range values {
		count += len(all)
		given[asciiLower(name)] += len(all)
		switch {
		case !utf8.ValidString(name) || slices.ContainsFunc(all, func(v string) bool { return !utf8.ValidString(v) }):
			return "not UTF-8"
		case strings.HasPrefix(name, "\ufeff"):
			return "a byte order mark before a name"
		case strings.ContainsFunc(name, unicode.IsControl):
			return "control characters in a name"
		case slices.ContainsFunc(all, func(v string) bool { return strings.Contains(v, "\x00") }):
			return "NUL in a value"
		}
	}
	for _, name := range wire.TokenParameters() {
		if given[name] > 1 {
			return name + " twice"
		}
	}
	if count > 32 {
		return "more than 32 parameters"
	}
	return ""
}

// The service reads a form pair by pair, and refuses it only for the reasons
// listed above. A form that ParseForm has already read gives the same result,
// unless ParseForm dropped a pair.
func FuzzFormParameters(f *testing.F) {
	f.Add("grant_type=password&username=%C3%BC+b%26&password=a%2Bb=c")
	f.Add("&&UserName=&x&=&&client_id")
	f.Add("username=a&USERNAME=b")
	f.Add("pa%C5%BF%C5%BFword=x&password=y")
	f.Add("a;b=c;d")
	f.Add("x=%zz%&username=%00")
	f.Add("\ufeffgrant_type=password&\r\n username=a")
	f.Add("\ufeff\ufeffgrant_type=password")
	f.Add("%EF%BB%BFgrant_type=password")
	f.Add("g\x00r\x00")
	f.Add(strings.Repeat("a=b&", 32))
	f.Add(strings.Repeat("a=b&", 33))
	f.Fuzz(func(t *testing.T, body string) {
		if len(body) > maxBodySize {
			return
		}
		text := formBody{text: []byte(body)}
		form, refusal := text.parameters(wire.TokenParameters())
		values := make(url.Values)
		for pair := range strings.SplitSeq(strings.TrimPrefix(body, "\ufeff"), "&") {
			if pair != "" {
				for name, all := range lenient(pair) {
					values[name] = append(values[name], all...)
				}
			}
		}
		reason := reasonToRefuse(values)
		if strings.Contains(body[:min(4, len(body))], "\x00") {
			reason = "UTF-16"
		}
		if refusal != nil {
			if reason == "" {
				t.Fatalf("refused a valid form: %v", refusal)
			}
			if refusal.Status != http.StatusBadRequest || refusal.Code != "invalid_request" {
				t.Errorf("refused with %d %s, want 400 invalid_request", refusal.Status, refusal.Code)
			}
			return
		}
		if reason != "" {
			t.Fatalf("accepted %q, want it refused: %s", form, reason)
		}
		want := make(map[string]string)
		for name, all := range values {
			if name = asciiLower(name); slices.Contains(wire.TokenParameters(), name) {
				want[name] = all[0]
			}
		}
		if !maps.Equal(form, want) {
			t.Fatalf("read as %q, want %q", form, want)
		}
		if parsed, err := url.ParseQuery(body); err == nil && !strings.Contains(body, "%EF%BB%BF") {
			read := formBody{parsed: parsed}
			if got, refusal := read.parameters(wire.TokenParameters()); refusal == nil && !maps.Equal(got, want) {
				// ParseForm keeps no difference between encoded and plain white
				// space.
				if !strings.ContainsAny(body, "+%") {
					t.Errorf("after ParseForm read as %q, want %q", got, want)
				}
			} else if refusal != nil && !strings.ContainsAny(body, "+%") {
				t.Errorf("refused after ParseForm: %v", refusal)
			}
		}
	})
}

// Accepted credentials encode to the same header again, as UTF-8 or ISO-8859-1,
// and equal the ones that net/http reads.
func FuzzParseBasic(f *testing.F) {
	encode := base64.StdEncoding.EncodeToString
	f.Add("Basic " + encode([]byte("alice:pass:word")))
	f.Add("bASIC   " + encode([]byte("ü:ä")) + "  ")
	f.Add("Basic " + encode([]byte("a:p\xe4ss")))
	f.Add("Basic " + encode([]byte("no colon")))
	f.Add("Basic YTpi=")
	f.Add("Basic YTpiYx==") // unused bits are not zero
	f.Add("Basic " + encode([]byte("a:b\x01")))
	f.Add("Basic " + encode([]byte("\xd3:\x80"))) // not UTF-8, but valid UTF-8 without the colon
	f.Add("Basic\t" + encode([]byte("a:b")))
	f.Add("Basically x")
	f.Add("Bearer tat_x")
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n") {
			return // net/http accepts no such header
		}
		got, ok := parseBasic(line)
		isBasic := len(line) >= 5 && strings.EqualFold(line[:5], "Basic") && (len(line) == 5 || line[5] == ' ' || line[5] == '\t')
		if !isBasic {
			if got != nil || !ok {
				t.Fatalf("another scheme: got %v, %v; want nil, true", got, ok)
			}
			return
		}
		r := &http.Request{Header: http.Header{"Authorization": {line}}}
		user, pass, agreed := r.BasicAuth()
		if !ok {
			// BasicAuth of net/http ignores unused bits and accepts all
			// characters.
			if agreed && line == "Basic "+encode([]byte(user+":"+pass)) && utf8.ValidString(user+":"+pass) && !strings.ContainsFunc(user+pass, unicode.IsControl) {
				t.Fatalf("refused valid credentials %q, %q", user, pass)
			}
			return
		}
		if got == nil {
			t.Fatal("the Basic scheme was not recognized")
		}
		text := got.user + ":" + got.pass
		if strings.Contains(got.user, ":") || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("accepted invalid credentials %q, %q", got.user, got.pass)
		}
		sent := strings.Trim(line[5:], " ")
		if sent != encode([]byte(text)) && sent != encode(latin1(text)) {
			t.Errorf("%q does not encode %q in UTF-8 or ISO-8859-1", sent, text)
		}
		if agreed && utf8.ValidString(user+":"+pass) && (user != got.user || pass != got.pass) {
			t.Errorf("read as %q, %q; package http reads %q, %q", got.user, got.pass, user, pass)
		}
	})
}

// latin1 encodes a text in ISO-8859-1, with 0 for each character that it lacks.
func latin1(text string) []byte {
	var b []byte
	for _, r := range text {
		if r > 0xff {
			r = 0
		}
		b = append(b, byte(r))
	}
	return b
}
