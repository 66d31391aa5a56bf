package tokenauth

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

// queryHas finds what a handler would find with package url, in any case.
func FuzzQueryHas(f *testing.F) {
	f.Add("a=b&Access_Token=x")
	f.Add("%70assword")
	f.Add("a+b=c&user%6Eame")
	f.Add("a;client_secret=x")
	f.Add("x=token&=password&%zz")
	f.Add("to%E2%84%AAen=x")
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		for _, name := range credentialNames {
			var asASCII, asUnicode bool
			for key := range values {
				asASCII = asASCII || asciiLower(key) == name
				asUnicode = asUnicode || strings.EqualFold(key, name)
			}
			// Which of the two foldings does not matter: it must not miss one
			// that a handler takes for the name, nor make one up.
			if got := queryHas(query, name); got != asASCII && got != asUnicode {
				t.Errorf("%s in %q: %v", name, query, got)
			}
		}
	})
}

// queryHas reads what cutting the query in pieces and package url read, also in
// queries that are malformed.
func FuzzQueryHasReadsOnce(f *testing.F) {
	f.Add("a=b&Access_Token=x")
	f.Add("%zz=1;%50assword")
	f.Add("passwor%6")
	f.Add("passwor%6=4&%70%61%73%73%77%6f%72%64")
	f.Add("client_secretx&client_secre%74")
	f.Fuzz(func(t *testing.T, query string) {
		want := ""
		for pair := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
			name, _, _ := strings.Cut(pair, "=")
			if unescaped, err := url.QueryUnescape(name); err == nil {
				name = unescaped
			}
			if name = asciiLower(name); slices.Contains(credentialNames, name) {
				want = name
			}
		}
		if got := queryHas(query, credentialNames...); got != (want != "") {
			t.Errorf("%q: %v, want %q", query, got, want)
		}
	})
}

func TestLongestNameFitsAllNames(t *testing.T) {
	t.Parallel()
	for _, name := range append([]string{"access_token"}, credentialNames...) {
		if len(name) > longestName || !queryHas(name, name) {
			t.Errorf("%s is not found", name)
		}
	}
}

// Where package url cannot read the query, a log has it all the same.
func TestQueryHasFindsNamesInMalformedQueries(t *testing.T) {
	t.Parallel()
	tests := []struct {
		query string
		want  bool
	}{
		{"", false},
		{"a;password=x", true},
		{"%zz=1&password=x", true},
		{"password=%zz", true},
		{"%zz", false},
		{"x=password", false},
		{"passwords=x", false},
	}
	for _, test := range tests {
		if got := queryHas(test.query, "password"); got != test.want {
			t.Errorf("%q: %v", test.query, got)
		}
	}
}
