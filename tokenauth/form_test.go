package tokenauth

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// reasonToRefuse tells why a form that package url can read must be refused
// all the same; "" for none.
func reasonToRefuse(values url.Values) string {
	count := 0
	given := make(map[string]int)
	for name, all := range values {
		count += len(all)
		given[asciiLower(name)] += len(all)
		switch {
		case !utf8.ValidString(name) || slices.ContainsFunc(all, func(v string) bool { return !utf8.ValidString(v) }):
			return "not UTF-8"
		case strings.ContainsFunc(name, unicode.IsControl):
			return "control characters in a name"
		case slices.ContainsFunc(all, func(v string) bool { return strings.Contains(v, "\x00") }):
			return "NUL in a value"
		}
	}
	for _, name := range tokenParameters {
		if given[name] > 1 {
			return name + " twice"
		}
	}
	if count > 32 {
		return "more than 32"
	}
	return ""
}

// parseForm reads what package url reads, and refuses no more than it says.
func FuzzParseForm(f *testing.F) {
	f.Add("grant_type=password&username=%C3%BC+b%26&password=a%2Bb=c")
	f.Add("&&UserName=&x&=&&client_id")
	f.Add("username=a&USERNAME=b")
	f.Add("pa%C5%BF%C5%BFword=x&password=y")
	f.Add("a;b=c")
	f.Add("x=%zz&username=%00")
	f.Add(strings.Repeat("a=b&", 32))
	f.Add(strings.Repeat("a=b&", 33))
	f.Fuzz(func(t *testing.T, body string) {
		form, refusal := parseURLEncoded([]byte(body), tokenParameters)
		values, err := url.ParseQuery(body)
		if err != nil {
			if refusal == nil {
				t.Fatalf("accepted as %q, which package url does not: %v", form, err)
			}
			return
		}
		reason := reasonToRefuse(values)
		if refusal != nil {
			if reason == "" {
				t.Fatalf("refused: %v", refusal)
			}
			if refusal.Status != http.StatusBadRequest || refusal.Code != "invalid_request" {
				t.Errorf("refused as %d %s", refusal.Status, refusal.Code)
			}
			return
		}
		if reason != "" {
			t.Fatalf("accepted as %q in spite of %s", form, reason)
		}
		want := make(map[string]string)
		for name, all := range values {
			if name = asciiLower(name); slices.Contains(tokenParameters, name) {
				want[name] = all[0]
			}
		}
		if len(form) != len(want) {
			t.Fatalf("read as %q, want %q", form, want)
		}
		for name, value := range want {
			if got, ok := form[name]; !ok || got != value {
				t.Errorf("%s is %q, want %q", name, got, value)
			}
		}
	})
}

// What is accepted can be encoded to the same header again, in one charset or
// the other, and is what net/http reads.
func FuzzParseAuthorization(f *testing.F) {
	encode := base64.StdEncoding.EncodeToString
	f.Add("Basic " + encode([]byte("alice:pass:word")))
	f.Add("bASIC   " + encode([]byte("ü:ä")) + "  ")
	f.Add("Basic " + encode([]byte("a:p\xe4ss")))
	f.Add("Basic " + encode([]byte("no colon")))
	f.Add("Basic YTpi=")
	f.Add("Basic YTpiYx==") // spare bits
	f.Add("Basic " + encode([]byte("a:b\x01")))
	f.Add("Basic " + encode([]byte("\xd3:\x80"))) // UTF-8 but for the colon
	f.Add("Basic\t" + encode([]byte("a:b")))
	f.Add("Basically x")
	f.Add("Bearer tat_x")
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n") {
			return // no server lets them through
		}
		got, ok := parseAuthorization([]string{line})
		isBasic := len(line) >= 5 && strings.EqualFold(line[:5], "Basic") && (len(line) == 5 || line[5] == ' ' || line[5] == '\t')
		if !isBasic {
			if got != nil || !ok {
				t.Fatalf("another scheme: %v, %v", got, ok)
			}
			return
		}
		r := &http.Request{Header: http.Header{"Authorization": {line}}}
		user, pass, agreed := r.BasicAuth()
		if !ok {
			// package http takes spare bits for zeros, and all characters.
			if agreed && line == "Basic "+encode([]byte(user+":"+pass)) && utf8.ValidString(user+":"+pass) && !strings.ContainsFunc(user+pass, unicode.IsControl) {
				t.Fatalf("refused %q, %q", user, pass)
			}
			return
		}
		if got == nil {
			t.Fatal("taken for another scheme")
		}
		text := got.user + ":" + got.pass
		if strings.Contains(got.user, ":") || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("accepted %q, %q", got.user, got.pass)
		}
		sent := strings.Trim(line[5:], " ")
		if sent != encode([]byte(text)) && sent != encode(latin1(text)) {
			t.Errorf("%q is neither UTF-8 nor ISO-8859-1 of %q", sent, text)
		}
		if agreed && utf8.ValidString(user+":"+pass) && (user != got.user || pass != got.pass) {
			t.Errorf("read as %q, %q; package http reads %q, %q", got.user, got.pass, user, pass)
		}
	})
}

// latin1 encodes a text in ISO-8859-1, with 0 for what that has not.
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

func TestOneWellFormedAuthorizationLineIsAccepted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		lines []string
		ok    bool
	}{
		{"none", nil, true},
		{"an empty one", []string{""}, true},
		{"two", []string{"Bearer a", "Basic YTpi"}, false},
		{"two that are empty", []string{"", ""}, false},
	}
	for _, test := range tests {
		if got, ok := parseAuthorization(test.lines); got != nil || ok != test.ok {
			t.Errorf("%s: %v, %v", test.name, got, ok)
		}
	}
}
