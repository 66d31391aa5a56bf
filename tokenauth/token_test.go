package tokenauth_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// The expected keys were computed by another program. If the keys change, the
// Service no longer finds stored tokens.
func TestStoredKeysStayTheSame(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ userID, clientID, user, client string }{
		{"17", "", "99fefe0c203e1c906b52a6f07bf7ce5d", "2af51d06284138d8a376ffaa372e8924"},
		{"", "17", "9ecd747fc74a3593583f300cb0e9d78a", "7b3c556b4de72ca3c44eaf38e91662b7"},
	} {
		got := tokenauth.SlotOf(test.userID, test.clientID)
		if hex.EncodeToString(got.User[:]) != test.user || hex.EncodeToString(got.Client[:]) != test.client {
			t.Errorf("the slot of user %q at client %q is %x", test.userID, test.clientID, got)
		}
		if got.User != tokenauth.UserKeyOf(test.userID) {
			t.Errorf("the slot of %q does not contain its user key", test.userID)
		}
	}
}

// marker is put into invalid fields, to check that errors do not repeat the
// input.
const marker = "s3cret"

func TestIssueRefusesInvalidPrincipals(t *testing.T) {
	t.Parallel()
	type principal = tokenauth.Principal
	size := len("17alice" + "stamp-1" + "ReaderStaff" + "tenantnorth")
	tests := []struct {
		name, field string // field is "" for a valid principal
		change      func(*principal)
	}{
		{"unchanged", "", func(*principal) {}},
		{"bare", "", func(p *principal) { *p = principal{UserID: "\x01"} }},
		{"no user ID", "UserID", func(p *principal) { p.UserID = "" }},
		{"user ID of 512 bytes", "", func(p *principal) { p.UserID = strings.Repeat("x", 512) }},
		{"user ID of 513 bytes", "UserID", func(p *principal) { p.UserID = marker + strings.Repeat("x", 507) }},
		{"user ID with NUL", "UserID", func(p *principal) { p.UserID = marker + "\x00" }},
		{"user ID not UTF-8", "UserID", func(p *principal) { p.UserID = marker + "\xff" }},
		{"user name of 512 bytes", "", func(p *principal) { p.UserName = strings.Repeat("ü", 256) }},
		{"user name of 513 bytes", "UserName", func(p *principal) { p.UserName = marker + strings.Repeat("x", 507) }},
		{"user name with NUL", "UserName", func(p *principal) { p.UserName = marker + "\x00" }},
		{"user name not UTF-8", "UserName", func(p *principal) { p.UserName = marker + "\xc0\x80" }},
		{"stamp of 512 bytes", "", func(p *principal) { p.Stamp = strings.Repeat("x", 512) }},
		{"stamp of 513 bytes", "Stamp", func(p *principal) { p.Stamp = marker + strings.Repeat("x", 507) }},
		{"stamp with NUL", "Stamp", func(p *principal) { p.Stamp = "\x00" + marker }},
		{"stamp not UTF-8", "Stamp", func(p *principal) { p.Stamp = marker + "\xed\xa0\x80" }},
		{"empty role", "Roles", func(p *principal) { p.Roles = []string{"Reader", ""} }},
		{"role with a comma", "Roles", func(p *principal) { p.Roles = []string{"Reader," + marker} }},
		{"role with NUL", "Roles", func(p *principal) { p.Roles = []string{marker + "\x00"} }},
		{"role not UTF-8", "Roles", func(p *principal) { p.Roles = []string{marker + "\xff"} }},
		{"attribute without name", "Attributes", func(p *principal) { p.Attributes[""] = marker }},
		{"attribute name with NUL", "Attributes", func(p *principal) { p.Attributes[marker+"\x00"] = "" }},
		{"attribute not UTF-8", "Attributes", func(p *principal) { p.Attributes["k"] = marker + "\xff" }},
		{"8192 bytes", "", func(p *principal) { p.Attributes["k"] = strings.Repeat("x", 8191-size) }},
		{"8193 bytes", "all fields together", func(p *principal) { p.Attributes["k"] = marker + strings.Repeat("x", 8192-size-len(marker)) }},
		{"8193 bytes of roles", "all fields together", func(p *principal) { p.Roles = append(p.Roles, strings.Repeat("x", 8193-size)) }},
	}
	for _, test := range tests {
		p := alice()
		test.change(&p)
		calls := 0
		storage := &scripted{before: func(context.Context, string) error { calls++; return nil }}
		_, err := newService(t, storage, &staff{}, nil).Issue(t.Context(), p, nil)
		switch {
		case test.field == "":
			if err != nil || calls != 1 {
				t.Errorf("%s: error %v, want none", test.name, err)
			}
		case reason(err) != "principal" || !strings.Contains(err.Error(), ": "+test.field+" must"):
			t.Errorf("%s: error %v, want one that names %s", test.name, err, test.field)
		case strings.Contains(err.Error(), marker) || calls > 0:
			t.Errorf("%s: error %v repeats the input, or follows %d calls of the storage", test.name, err, calls)
		}
	}
}

func TestIssueRefusesInvalidClientIDs(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, nil)
	for clientID, good := range map[string]bool{
		"": true, "a,b": true, strings.Repeat("x", 256): true,
		marker + strings.Repeat("x", 251): false, marker + "\x00": false, marker + "\xff": false,
	} {
		_, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{ClientID: clientID})
		if (err == nil) != good || err != nil && (!strings.Contains(err.Error(), "client ID") || strings.Contains(err.Error(), marker)) {
			t.Errorf("client ID of %q: error %v", clientID, err)
		}
	}
}

// A token does not change if a caller modifies a principal that it passed or
// got.
func TestPrincipalsAreCopied(t *testing.T) {
	t.Parallel()
	spoil := func(p tokenauth.Principal) { p.Roles[0], p.Attributes["tenant"] = "Administrator", "south" }
	auth := newService(t, new(memory.Store), &staff{}, nil)
	p := alice()
	grant, err := auth.Issue(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	spoil(p)
	spoil(grant.Token.Principal)
	for range 2 {
		token, err := auth.Validate(t.Context(), grant.AccessToken.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(token.Principal), fmt.Sprint(alice()); got != want {
			t.Errorf("the principal is %v, want %v", got, want)
		}
		spoil(token.Principal)
	}
}

func TestHasRoleComparesExactly(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		anyOf []string
		want  bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{"Reader"}, true},
		{[]string{"reader"}, false},
		{[]string{"Reader "}, false},
		{[]string{"Administrator", "Staff"}, true},
		{[]string{"Reader,Staff"}, false},
	} {
		if got := alice().HasRole(test.anyOf...); got != test.want {
			t.Errorf("HasRole of %q: %v", test.anyOf, got)
		}
	}
	if bob().HasRole("Reader") {
		t.Error("HasRole is true for a user without roles")
	}
}

// More goroutines than cores sign in the same user, and each also a user of its
// own. Of the shared slot one token stays valid, and one is reported as
// replaced.
func TestConcurrentSignInsLeaveOneToken(t *testing.T) {
	t.Parallel()
	const n = 64
	auth := newService(t, new(memory.Store), &staff{}, nil)
	var shared [n]string
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			grant, err := auth.Issue(t.Context(), alice(), nil)
			if err != nil {
				t.Errorf("Issue: %v", err)
				return
			}
			shared[i] = grant.AccessToken.Reveal()
			own := fmt.Sprint("user ", i)
			for range 10 {
				if _, err := auth.Validate(t.Context(), shared[i]); err != nil && !strings.HasPrefix(reason(err), "invalid") {
					t.Errorf("shared user: error %v", err)
				}
				grant, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: own}, nil)
				if err != nil {
					t.Errorf("%s: error %v", own, err)
					return
				}
				token, err := auth.Validate(t.Context(), grant.AccessToken.Reveal())
				if err != nil || token.Principal.UserID != own {
					t.Errorf("%s: the token is for %q, error %v", own, token.Principal.UserID, err)
				}
				if i%2 == 0 {
					err = auth.Revoke(t.Context(), grant.AccessToken.Reveal())
				} else {
					err = auth.RevokeUser(t.Context(), own)
				}
				if _, invalid := auth.Validate(t.Context(), grant.AccessToken.Reveal()); err != nil || reason(invalid) != "invalid" {
					t.Errorf("%s: Revoke returned %v, and Validate then %v", own, err, invalid)
				}
			}
		})
	}
	wg.Wait()
	count := make(map[string]int)
	for _, accessToken := range shared {
		_, err := auth.Validate(t.Context(), accessToken)
		count[reason(err)]++
	}
	if count["valid"] != 1 || count["invalid replaced"] != 1 || count["invalid"] != n-2 {
		t.Errorf("the results for the tokens of %d sign-ins are %v", n, count)
	}
}
