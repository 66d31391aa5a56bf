package tokenauth

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

// queryHas finds each name that a handler would find with package url, in any
// case.
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
			// Some names match only under Unicode case folding. For these
			// either result is correct.
			if got := queryHas(query, name); got != asASCII && got != asUnicode {
				t.Errorf("queryHas of %s in %q: %v", name, query, got)
			}
		}
	})
}

// queryHas agrees with splitting the query and decoding each name with package
// url, also for malformed queries.
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
			t.Errorf("queryHas of %q: %v, want the name %q", query, got, want)
		}
	})
}

func TestLongestNameFitsAllNames(t *testing.T) {
	t.Parallel()
	for _, name := range append([]string{"access_token"}, credentialNames...) {
		if len(name) > longestName || !queryHas(name, name) {
			t.Errorf("%s is longer than longestName, or queryHas does not find it", name)
		}
	}
}

// A log may contain a query that package url cannot parse, so credentials in it
// are found too.
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
			t.Errorf("queryHas of %q: %v, want %v", test.query, got, test.want)
		}
	}
}
