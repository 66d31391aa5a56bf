package existingservice_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/examples/internal/process"
)

// folder holds the built programs.
var folder string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if folder, err = os.MkdirTemp("", "existing-service"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(folder)
		if err := process.Build(folder, "./before", "./after", "./ownlogin", "./installation"); err != nil {
			panic(err)
		}
		return m.Run()
	}())
}

// A server is a running process of one of the programs.
type server struct{ *process.Process }

// start starts a program on a database, and waits until it listens. When the test
// ends, the log must have no secrets in it.
func start(t *testing.T, program, database string) *server {
	t.Helper()
	p, err := process.Start(filepath.Join(folder, program), "-port", "0", "-db", database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		out, _ := p.Stop(os.Kill)
		if strings.Contains(out, "panic") {
			t.Error(out)
		}
		for _, secret := range []string{"tat_", "$2a$", trialPassword, otherPassword} {
			if strings.Contains(out, secret) {
				t.Errorf("the log contains the secret %s", secret)
			}
		}
	})
	return &server{p}
}

// A browser is a client that stores cookies and does not follow redirects. If
// bearer is set, it sends that token with each request.
type browser struct {
	server *server
	client *http.Client
	bearer string
}

func (p *server) browser() *browser {
	jar, _ := cookiejar.New(nil)
	return &browser{server: p, client: &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// An answer is the response to a request.
type answer struct {
	*http.Response
	body string
}

func (a answer) decode(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), into); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
}

func (b *browser) do(t *testing.T, method, path, contentType, body string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+b.server.Addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	if b.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+b.bearer)
	}
	response, err := b.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response, string(text)}
}

// expect calls a route of the JSON API and compares the response. If want is "",
// the body may be anything.
func (b *browser) expect(t *testing.T, method, path, body string, status int, want string) answer {
	t.Helper()
	a := b.do(t, method, path, "application/json", body)
	if a.StatusCode != status || want != "" && a.body != want {
		t.Errorf("%s %s: got %d %s, want %d %s", method, path, a.StatusCode, a.body, status, want)
	}
	return a
}
