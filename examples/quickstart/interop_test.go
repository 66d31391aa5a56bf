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

// A target is a server, and the credentials to sign in with.
type target struct {
	host, user, password string

	// The client's credentials; empty without a registry of clients.
	clientID, clientSecret string
	// Where the client sends them, "basic" or "body"; empty is the client's default.
	auth string
}

// seen is a client's report, as its own parser, clock and error type had it.
type seen struct {
	Client        string  `json:"client"`        // name and version
	ExpiresIn     float64 `json:"expiresIn"`     // in seconds
	WrongPassword string  `json:"wrongPassword"` // the error code
	WrongSecret   string  `json:"wrongSecret"`   // the error code; empty without a secret
	User          string  `json:"user"`          // the name that /me returned for the first token
	UserAgain     string  `json:"userAgain"`     // the name for the second token
	Replaced      string  `json:"replaced"`      // status and description for the first token after that
}

// A client signs in with a right password, with a wrong password, with a wrong
// secret if it has a secret, and then again. It calls /me after each sign-in.
type client struct {
	name  string
	visit func(*testing.T, target) seen
}

// Each real client works with the quickstart in its default configuration.
func TestRealClientsSignIn(t *testing.T) {
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
				t.Fatal("the quickstart did not start: ", p.output.String())
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
		t.Errorf("the client reported %+v,\nwant %+v", got, want)
	}
	const lifetime = 14 * 24 * 60 * 60
	if got.ExpiresIn < lifetime-60 || got.ExpiresIn > lifetime+1 { // some clients round
		t.Errorf("the client reported a lifetime of %v seconds, want %d", got.ExpiresIn, lifetime)
	}
}

// A script is a client in another language.
type script struct {
	library string
	file    string   // in testdata/clients
	run     []string // interpreters that may have the library
	has     []string // arguments with which an interpreter fails if it lacks the library
	name    string   // the name in TOKENAUTH_REQUIRE
	get     string   // how to install the library
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
		t.Fatalf("the client printed no report: %v", err)
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

// run runs a program and returns its output. Credentials are in its environment:
// all users of the machine can read the arguments of a process.
func run(t *testing.T, at target, stdin []byte, program string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = folder
	cmd.WaitDelay = 10 * time.Second // a shell's children may outlive the shell
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
