package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// With refresh tokens, the recorded requests for one differ as the README says.
func TestRefreshTokensDifferAsListed(t *testing.T) {
	t.Parallel()
	p := newReplay(t, true)
	p.address = "198.18.255.1:1"
	want := map[string][]string{
		"refresh token":            {`400 invalid_grant → 400 invalid_grant: The refresh token is not valid.`, "Cache-Control: no-cache → no-store", "Expires: -1 → "},
		"grant type refresh_token": {"500  → 400 invalid_request: The parameter refresh_token is missing."},
	}
	for _, e := range p.record.Cases {
		differ, ok := want[e.Name]
		if !ok {
			continue
		}
		delete(want, e.Name)
		got := differences(e.Answer, p.answer(t, e))
		for _, d := range differ {
			if !slices.Contains(got, d) {
				t.Errorf("%s: the differences are %q, want %q among them", e.Name, got, d)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("the record lacks the cases %v", want)
	}
}

var withRefresh = regexp.MustCompile(`^\{"access_token":"tat_[^"]+","token_type":"bearer","expires_in":1209599,"refresh_token":"trt_[^"]+","userName":"Alice","userId":"[^"]+","role":"[^"]*",".issued":"[^"]+",".expires":"[^"]+"\}$`)

// The members are in the order of Katana, which has refresh_token behind expires_in. A
// refresh reads the user again.
func TestRefreshReadsTheUserAgain(t *testing.T) {
	t.Parallel()
	p := newReplay(t, true)
	p.address = "198.18.255.2:1"
	grant := func(form url.Values) (a answer, refreshToken string) {
		t.Helper()
		r, err := http.NewRequest("POST", p.url+"/Token", strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		a = send(t, r)
		var body struct {
			RefreshToken string `json:"refresh_token"`
			Role         string `json:"role"`
		}
		if err := json.Unmarshal([]byte(a.body), &body); err != nil {
			t.Fatal(err)
		}
		if a.status == http.StatusOK && !withRefresh.MatchString(a.body) {
			t.Errorf("answered %s, want the members of Katana in order", a.body)
		}
		return a, body.RefreshToken
	}
	refresh := func(refreshToken string) (answer, string) {
		return grant(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}})
	}
	_, refreshToken := grant(url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"my password"}})
	p.exec(t, `DELETE FROM "AspNetUserRoles" WHERE "UserId" = (SELECT "Id" FROM "AspNetUsers" WHERE "UserName" = 'Alice') AND "RoleId" = (SELECT "Id" FROM "AspNetRoles" WHERE "Name" = 'Administrator')`)
	a, refreshToken := refresh(refreshToken)
	if a.status != http.StatusOK || !strings.Contains(a.body, `"role":"Reader"`) {
		t.Errorf("after a role was taken away: answered %d %s, want the role Reader", a.status, a.body)
	}
	stamp := p.column(t, "SecurityStamp", "Alice")
	for change, undo := range map[string]string{
		`UPDATE "AspNetUsers" SET "SecurityStamp" = 'another' WHERE "UserName" = 'Alice'`:                                          `UPDATE "AspNetUsers" SET "SecurityStamp" = '` + stamp + `' WHERE "UserName" = 'Alice'`,
		`UPDATE "AspNetUsers" SET "LockoutEnabled" = TRUE, "LockoutEndDateUtc" = '9999-01-01 00:00:00' WHERE "UserName" = 'Alice'`: `UPDATE "AspNetUsers" SET "LockoutEnabled" = FALSE WHERE "UserName" = 'Alice'`,
	} {
		p.exec(t, change)
		if a, _ := refresh(refreshToken); a.status != http.StatusBadRequest || !strings.Contains(a.body, "invalid_grant") {
			t.Errorf("after %s: answered %d %s, want 400 invalid_grant", change, a.status, a.body)
		}
		p.exec(t, undo)
	}
	if a, _ := refresh(refreshToken); a.status != http.StatusOK {
		t.Errorf("the refusals ended the sign-in: answered %d %s", a.status, a.body)
	}
}
