package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/pquerna/otp/totp"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	os.Exit(throwaway.Main(m))
}

// The responses of the token endpoint and of the routes below /api/factor.
const (
	wrongPassword = `"error":"invalid_grant","error_description":"The user name or password is incorrect."`
	wrongCode     = `"error":"invalid_grant","error_description":"The code is wrong, or was used before."`
	codeRequired  = `"error":"mfa_required","error_description":"Send a code of your authenticator app in the parameter otp."`
	notConfirmed  = `"error":"invalid_grant","error_description":"Confirm your e-mail address first."`
)

const alice, bob = "alice@example.com", "bob@example.com"

// A deployment is two replicas of the service on one database.
type deployment struct {
	replicas [2]*httptest.Server
	services [2]*service
	seconds  atomic.Int64 // the clock of both replicas, for codes only
}

// onEach runs a test with a deployment on SQLite and with one on PostgreSQL.
func onEach(t *testing.T, test func(t *testing.T, d *deployment)) {
	t.Parallel()
	for name, database := range map[string]func(*testing.T) func() gorm.Dialector{"sqlite": onSQLite, "postgres": onPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, deploy(t, database(t)))
		})
	}
}

func onSQLite(t *testing.T) func() gorm.Dialector {
	file := filepath.Join(t.TempDir(), "second-factor.db")
	return func() gorm.Dialector { return openFile(file) }
}

func onPostgres(t *testing.T) func() gorm.Dialector {
	dsn := throwaway.Postgres(t)
	return func() gorm.Dialector { return postgres.Open(dsn) }
}

// deploy starts the replicas. When the test ends, no secret may be in their log.
func deploy(t *testing.T, dialector func() gorm.Dialector) *deployment {
	t.Helper()
	var log lockedBuffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	d := new(deployment)
	d.seconds.Store(time.Now().Unix())
	for i := range d.replicas {
		db, err := openDatabase(dialector(), logger)
		if err != nil {
			t.Fatal(err)
		}
		pool, err := db.DB()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { pool.Close() })
		s, err := newService(t.Context(), db, logger)
		if err != nil {
			t.Fatal(err)
		}
		s.now = func() time.Time { return time.Unix(d.seconds.Load(), 0) }
		d.services[i], d.replicas[i] = s, httptest.NewServer(s.routes())
		t.Cleanup(d.replicas[i].Close)
	}
	t.Cleanup(func() {
		var users []User
		if err := d.services[0].db.Find(&users).Error; err != nil {
			t.Error(err)
		}
		text := log.String()
		secrets := []string{"tat_", "$argon2id$", trialPassword}
		for _, u := range users {
			if u.TOTPSecret != "" {
				secrets = append(secrets, u.TOTPSecret)
			}
		}
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("the log contains the secret %s", secret)
			}
		}
		if strings.Contains(text, "panic") {
			t.Error(text)
		}
	})
	return d
}

// A lockedBuffer is a buffer for the log of several replicas.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// An answer is the response to a request.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) expect(t *testing.T, what string, status int, contains string) {
	t.Helper()
	if a.status != status || !strings.Contains(a.body, contains) {
		t.Errorf("%s: got %d %s, want %d with %s", what, a.status, a.body, status, contains)
	}
}

// member returns a member of the JSON body.
func (a answer) member(t *testing.T, name string) string {
	t.Helper()
	var body map[string]any
	err := json.Unmarshal([]byte(a.body), &body)
	text, ok := body[name].(string)
	if err != nil || !ok {
		t.Fatalf("got %d %s, want a body with %s", a.status, a.body, name)
	}
	return text
}

func (d *deployment) send(t *testing.T, r *http.Request) answer {
	response, err := http.DefaultClient.Do(r.WithContext(t.Context()))
	if err != nil {
		t.Error(err)
		return answer{}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

// signIn signs in at a replica. An empty code is not sent.
func (d *deployment) signIn(t *testing.T, replica int, email, password, code string) answer {
	form := url.Values{"grant_type": {"password"}, "username": {email}, "password": {password}}
	if code != "" {
		form.Set("otp", code)
	}
	r, err := http.NewRequest("POST", d.replicas[replica].URL+"/Token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Error(err)
		return answer{}
	}
	return d.send(t, r)
}

// factor calls a route below /api/factor of a replica.
func (d *deployment) factor(t *testing.T, replica int, token, path, password, code string) answer {
	t.Helper()
	body, err := json.Marshal(map[string]string{"password": password, "otp": code})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest("POST", d.replicas[replica].URL+"/api/factor"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return d.send(t, r)
}

// enroll turns on the factor of alice. It uses the code of the current time step.
func (d *deployment) enroll(t *testing.T) (token, secret string) {
	t.Helper()
	token = d.signIn(t, 0, alice, trialPassword, "").member(t, "access_token")
	secret = d.factor(t, 0, token, "", trialPassword, "").member(t, "secret")
	d.factor(t, 0, token, "/confirm", trialPassword, d.code(t, secret, 0)).expect(t, "confirming the factor", http.StatusNoContent, "")
	return token, secret
}

// code returns the code that an app shows whose clock is ahead by some time steps.
func (d *deployment) code(t *testing.T, secret string, ahead int) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, time.Unix(d.seconds.Load()+int64(ahead)*period, 0))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// wrong returns different codes of which none is valid.
func (d *deployment) wrong(t *testing.T, secret string, n int) (codes []string) {
	t.Helper()
	for i := 0; len(codes) < n; i++ {
		code := fmt.Sprintf("%06d", i)
		if code != d.code(t, secret, -1) && code != d.code(t, secret, 0) && code != d.code(t, secret, 1) {
			codes = append(codes, code)
		}
	}
	return codes
}

// advance moves the clock to the next time step.
func (d *deployment) advance() { d.seconds.Add(period) }
