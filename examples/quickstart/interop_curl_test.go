package main_test

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// documentedCall is the documented call, to the letter. Its arguments contain the
// password.
const documentedCall = `curl --location --request GET "$HOST/Token" \
  --header 'Content-Type: application/json' \
  --data-urlencode 'grant_type=password' \
  --data-urlencode 'username=username' \
  --data-urlencode 'password=password'`

// postCall is the same by POST, as in a script: the password is not in the
// arguments.
const postCall = `printf %s "$PASSWORD" | curl "$HOST/Token" \
  --data grant_type=password --data-urlencode "username=$USER_NAME" --data-urlencode password@-`

// curl signs in by a command line, in which it replaces the documented password
// with that of the target.
func curl(call string) func(*testing.T, target) seen {
	return func(t *testing.T, at target) (got seen) {
		t.Helper()
		if _, err := exec.LookPath("curl"); err != nil {
			throwaway.Need(t, "curl", errors.New("needs curl; to get it: apt-get install curl"))
		}
		version, _, _ := strings.Cut(string(run(t, at, nil, "curl", "--version")), "(")
		got.Client = strings.TrimSpace(version)

		type answer struct {
			AccessToken string  `json:"access_token"`
			ExpiresIn   float64 `json:"expires_in"`
			UserName    string  `json:"userName"`
			Error       string  `json:"error"`
			Description string  `json:"error_description"`
		}
		sh := func(at target, stdin, script string) (a answer, rest string) {
			t.Helper()
			out := string(run(t, at, []byte(stdin), "/bin/sh", "-c", script))
			body, rest, _ := strings.Cut(out, "\n")
			if err := json.Unmarshal([]byte(body), &a); err != nil {
				t.Fatal(err)
			}
			return a, rest
		}
		signIn := func(at target) answer {
			t.Helper()
			a, _ := sh(at, "", strings.Replace(call, "'password=password'", "'password="+at.password+"'", 1))
			return a
		}
		me := func(a answer) (answer, string) {
			t.Helper()
			return sh(at, "Authorization: Bearer "+a.AccessToken, `curl --header @- --write-out '\n%{http_code}' "$HOST/me"`)
		}

		first := signIn(at)
		got.ExpiresIn = first.ExpiresIn
		wrong := at
		wrong.password = "not " + at.password
		got.WrongPassword = signIn(wrong).Error
		a, _ := me(first)
		got.User = a.UserName
		a, _ = me(signIn(at))
		got.UserAgain = a.UserName
		a, status := me(first)
		got.Replaced = status + " " + a.Description
		return got
	}
}
