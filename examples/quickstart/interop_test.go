package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// A target is a server, and who signs in there.
type target struct {
	host, user, password string

	// Who the client says it is; none if empty.
	clientID, clientSecret string
	// Where it says so, "basic" or "body"; empty leaves that to the client.
	auth string
}

// seen is what a client has seen, all of it by its own parser, its own clock
// and its own type of error.
type seen struct {
	Client        string  `json:"client"`        // its version
	ExpiresIn     float64 `json:"expiresIn"`     // in seconds
	WrongPassword string  `json:"wrongPassword"` // the error code
	WrongSecret   string  `json:"wrongSecret"`   // the same; none without a secret
	User          string  `json:"user"`          // the name that /me tells, after the wrong password
	UserAgain     string  `json:"userAgain"`     // the name with the second token
	Replaced      string  `json:"replaced"`      // status and description with the first token, then
}

// A client signs in with a password, with a wrong one, and with a wrong secret
// if it has one, then again, and asks /me in between.
type client struct {
	name  string
	visit func(*testing.T, target) seen
}

// Real clients get along with the quickstart, each in the way it has by itself.
func TestClients(t *testing.T) {
	t.Parallel()
	clients := []client{
		{"curl GET", curl(documentedCall)},
		{"curl POST", curl(postCall)},
		{"C# HttpClient GET", csharp("GET")},
		{"C# HttpClient POST", csharp("POST")},
		{"C# StringContent", csharp("StringContent")},
		{"C# StreamWriter", csharp("StreamWriter")},
		{"Apache HttpClient 4", apacheHTTP("4", "form")},
		{"Apache HttpClient 5", apacheHTTP("5", "form")},
	}
	for style, auth := range map[string]string{"AutoDetect": "", "InHeader": "basic", "InParams": "body"} {
		clients = append(clients, client{"x/oauth2 " + style, func(t *testing.T, at target) seen {
			at.auth = auth
			return xoauth2(t, at)
		}})
	}
	for _, s := range scripts {
		clients = append(clients, client{s.library, s.visit})
	}
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, "-addr", "127.0.0.1:0", "-store", "memory:")
			if p.host == "" {
				t.Fatal("it does not start: ", p.output.String())
			}
			c.check(t, target{host: p.host, user: "username", password: "password"})
		})
	}
}

func (c client) check(t *testing.T, at target) {
	t.Helper()
	got := c.visit(t, at)
	t.Log(got.Client)
	want := seen{
		Client:        got.Client,
		ExpiresIn:     got.ExpiresIn,
		WrongPassword: "invalid_grant",
		User:          at.user,
		UserAgain:     at.user,
		Replaced:      "401 The access token was replaced by a newer sign-in.",
	}
	if at.clientSecret != "" {
		want.WrongSecret = "invalid_client"
	}
	if got != want {
		t.Errorf("it has seen %+v,\nwant %+v", got, want)
	}
	const lifetime = 14 * 24 * 60 * 60
	if got.ExpiresIn < lifetime-60 || got.ExpiresIn > lifetime+1 { // some clients round
		t.Errorf("it takes the token to be good for %v seconds", got.ExpiresIn)
	}
}

// A script is a client in another language.
type script struct {
	library string
	file    string   // in testdata/clients
	run     []string // the interpreters that may have the library
	has     []string // arguments with which an interpreter tells whether it has
	name    string   // in TOKENAUTH_REQUIRE
	get     string   // the library
}

var scripts = []script{
	{
		"requests-oauthlib", "python_requests_oauthlib.py",
		[]string{"python3", "/usr/bin/python3"}, []string{"-c", "import requests_oauthlib"},
		"python", "apt-get install python3-requests-oauthlib",
	},
	{
		"Authlib", "python_authlib.py",
		[]string{"python3", "/usr/bin/python3"}, []string{"-c", "import authlib, requests"},
		"python", "apt-get install python3-authlib python3-requests",
	},
	{
		"simple-oauth2", "node_simple_oauth2.js",
		[]string{"node"}, []string{"--eval", "import('simple-oauth2')"},
		"node", getNode,
	},
	{
		"oauth4webapi", "node_oauth4webapi.js",
		[]string{"node"}, []string{"--eval", "import('oauth4webapi')"},
		"node", getNode,
	},
	{
		"ruby oauth2", "ruby_oauth2.rb",
		[]string{"ruby", "/usr/bin/ruby"}, []string{"-e", "require 'oauth2'"},
		"ruby", "apt-get install ruby-oauth2",
	},
}

const getNode = "apt-get install nodejs npm, then npm ci --prefix examples/quickstart/testdata/clients"

func (s script) visit(t *testing.T, at target) (got seen) {
	t.Helper()
	out := run(t, at, nil, s.interpreter(t), s.file)
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("it does not print what it has seen: %v", err)
	}
	return got
}

func (s script) interpreter(t *testing.T) string {
	t.Helper()
	find, _ := interpreters.LoadOrStore(s.library, sync.OnceValue(func() string {
		for _, program := range s.run {
			has := exec.Command(program, s.has...)
			has.Dir = folder
			if has.Run() == nil {
				return program
			}
		}
		return ""
	}))
	program := find.(func() string)()
	if program == "" {
		throwaway.Need(t, s.name, fmt.Errorf("needs %s; to get it: %s", s.library, s.get))
	}
	return program
}

// interpreters has, for each library, a function that finds its interpreter.
var interpreters sync.Map

var folder = filepath.Join("testdata", "clients")

// run runs a program and returns what it prints. Who signs in is in its
// environment, for arguments can be read by everybody on the machine.
func run(t *testing.T, at target, stdin []byte, program string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = folder
	cmd.WaitDelay = 10 * time.Second // a shell's children may outlive it
	cmd.Env = append(os.Environ(),
		"HOST="+at.host, "USER_NAME="+at.user, "PASSWORD="+at.password,
		"CLIENT_ID="+at.clientID, "CLIENT_SECRET="+at.clientSecret, "CLIENT_AUTH="+at.auth,
		"LC_ALL=C.UTF-8", "NO_PROXY=*", "no_proxy=*")
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, &stderr)
	}
	return out
}
