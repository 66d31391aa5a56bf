package existingservice_test

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
)

const notInstalled = `{"error":"temporarily_unavailable","error_description":"This service is not installed yet. An administrator installs it at /install."}`

var installationCode = regexp.MustCompile(`code=(\w+)`)

func installation(code, name, password string) url.Values {
	return url.Values{"code": {code}, "name": {name}, "password": {password}}
}

// install fills in the installation page.
func (b *browser) install(t *testing.T, values url.Values) answer {
	t.Helper()
	return b.do(t, "POST", "/install", form, values.Encode())
}

// The service starts before its database exists. From the installation on, /Token
// and the guards work without a restart.
func TestInstallation(t *testing.T) {
	t.Parallel()
	database := filepath.Join(t.TempDir(), "installation.db")
	p := start(t, "installation", database)
	b := p.browser()
	for _, route := range []string{"POST /Token", "GET /Token", "GET /api/me", "GET /nowhere"} {
		method, path, _ := strings.Cut(route, " ")
		b.expect(t, method, path, "", 503, notInstalled)
	}
	b.expect(t, "GET", "/install", "", 200, "")
	if _, err := os.Stat(database); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before the installation: got %v for the database, want that it does not exist", err)
	}

	found := installationCode.FindStringSubmatch(p.Output())
	if found == nil {
		t.Fatalf("the log has no code: %s", p.Output())
	}
	code := found[1]
	for _, test := range []struct {
		form   url.Values
		status int
	}{
		{nil, 403},
		{installation("", "root", trialPassword), 403},
		{installation("x"+code, "root", trialPassword), 403},
		{installation(code, "root", "short"), 400},
		{installation(code, "", trialPassword), 400},
		{installation(code, "root", strings.Repeat("x", 2000)), 400},
		{installation(code, "root", strings.Repeat("x", 1<<20)), 403}, // the form is not read
	} {
		if a := b.install(t, test.form); a.StatusCode != test.status {
			t.Errorf("POST /install: got %d %s, want %d", a.StatusCode, a.body, test.status)
		}
	}
	b.expect(t, "GET", "/api/me", "", 503, notInstalled)

	// Of several concurrent installations one succeeds.
	var installed sync.WaitGroup
	statuses := make([]int, 4)
	for i := range statuses {
		installed.Go(func() {
			response, err := http.PostForm("http://"+p.Addr+"/install", installation(code, "root", trialPassword))
			if err != nil {
				t.Error(err)
				return
			}
			response.Body.Close()
			statuses[i] = response.StatusCode
		})
	}
	installed.Wait()
	created := 0
	for _, status := range statuses {
		switch status {
		case 201:
			created++
		case 404, 409: // the page is gone, or the service is installed already
		default:
			t.Errorf("POST /install: got %d, want 201, 404 or 409", status)
		}
	}
	if created != 1 {
		t.Errorf("got %v, want 201 once", statuses)
	}

	b.expect(t, "GET", "/install", "", 404, "")
	b.expect(t, "GET", "/api/me", "", 401, "")
	root, _ := p.signIn(t, "root", trialPassword)
	const me = `{"name":"root","roles":["administrator"]}`
	root.expect(t, "GET", "/api/me", "", 200, me)

	if out, err := p.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err, out)
	}
	root.server = start(t, "installation", database)
	root.expect(t, "GET", "/api/me", "", 200, me)
	root.expect(t, "GET", "/install", "", 404, "")
}

// An installation that failed can be repeated, by the same process and by the
// next one.
func TestInstallationCanBeRepeated(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "later")
	database := filepath.Join(folder, "installation.db")
	p := start(t, "installation", database)
	code := installationCode.FindStringSubmatch(p.Output())[1]
	b := p.browser()
	if a := b.install(t, installation(code, "root", trialPassword)); a.StatusCode != 500 || strings.Contains(a.body, folder) {
		t.Errorf("without the folder of the database: got %d %s, want 500 without a path", a.StatusCode, a.body)
	}
	b.expect(t, "GET", "/api/me", "", 503, notInstalled)
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	// The tables are created, and the administrator is not.
	if a := b.install(t, installation(code, "", trialPassword)); a.StatusCode != 400 {
		t.Errorf("without a name: got %d %s, want 400", a.StatusCode, a.body)
	}
	if out, err := p.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err, out)
	}

	p = start(t, "installation", database)
	b = p.browser()
	b.expect(t, "GET", "/api/me", "", 503, notInstalled)
	code = installationCode.FindStringSubmatch(p.Output())[1]
	if a := b.install(t, installation(code, "root", trialPassword)); a.StatusCode != 201 {
		t.Errorf("POST /install: got %d %s, want 201", a.StatusCode, a.body)
	}
	root, _ := p.signIn(t, "root", trialPassword)
	root.expect(t, "GET", "/api/me", "", 200, "")
}
