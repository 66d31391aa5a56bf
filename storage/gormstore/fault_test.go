package gormstore_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// While the server is stopped or hangs, every answer is "unavailable" within the
// deadline, never "invalid". Afterwards the service works again.
func TestFaultsAreUnavailableNotInvalid(t *testing.T) {
	t.Parallel()
	servers := []struct {
		name      string
		start     func(testing.TB) *throwaway.Server
		dialector func(string) gorm.Dialector
	}{
		{"postgres", throwaway.StartPostgres, postgres.Open},
		{"mariadb", throwaway.StartMariaDB, mysql.Open},
	}
	for _, test := range servers {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := test.start(t)
			s := newStore(t, openDialector(t, test.dialector(server.DSN()), nil), nil)
			const timeout = time.Second
			auth, err := tokenauth.New(s, s.Users(), &tokenauth.Options{Timeout: timeout})
			if err != nil {
				t.Fatal(err)
			}
			create(t, s, "alice")
			accessToken := mustSignIn(t, auth, "alice")

			unavailable := func(during string) {
				t.Helper()
				for i := range long(3) {
					began := time.Now()
					_, err := auth.Validate(t.Context(), accessToken)
					if !errors.Is(err, tokenauth.ErrUnavailable) || errors.Is(err, tokenauth.ErrInvalidToken) {
						t.Errorf("%s: Validate returns %v", during, err)
					}
					if _, err = signIn(t.Context(), auth, "alice", "password"); !errors.Is(err, tokenauth.ErrUnavailable) || errors.Is(err, tokenauth.ErrRejected) {
						t.Errorf("%s: SignIn returns %v", during, err)
					}
					// The token has one deadline, the user two seconds; the rest is for a busy machine.
					if took := time.Since(began); took > timeout+2*time.Second+busyTimeout {
						t.Errorf("%s: attempt %d took %v", during, i, took)
					}
				}
			}
			signsIn := func(after string) {
				t.Helper()
				eventually(t, "alice signs in after "+after, func() bool {
					grant, err := signIn(t.Context(), auth, "alice", "password")
					if errors.Is(err, tokenauth.ErrRejected) {
						t.Fatalf("after %s: %v", after, err)
					}
					accessToken = grant.AccessToken.Reveal()
					return err == nil
				})
			}
			recovers := func(after string) {
				t.Helper()
				eventually(t, "the token is valid after "+after, func() bool {
					_, err := auth.Validate(t.Context(), accessToken)
					if errors.Is(err, tokenauth.ErrInvalidToken) {
						t.Fatalf("after %s: %v", after, err)
					}
					return err == nil
				})
				signsIn(after)
			}
			server.Stop(t)
			unavailable("stopped")
			server.Start(t)
			recovers("the stop")

			server.Pause(t)
			unavailable("hanging")
			server.Resume(t)
			// The hanging sign-in may or may not have stored its token, so sign in again.
			signsIn("the pause")
			recovers("the pause")
		})
	}
}

// Concurrent sign-ins of one user leave one valid token. RevokeUser ends all tokens from
// before the call, even while sign-ins continue.
func TestConcurrentSignInsLeaveOneValidToken(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		auth, err := tokenauth.New(s, s.Users(), &tokenauth.Options{Timeout: 30 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		user := create(t, s, "alice")
		n := long(200)
		tokens := make(chan string, n)
		for range n {
			go func() {
				grant, err := signIn(t.Context(), auth, "alice", "password")
				if err != nil {
					t.Error(err)
				}
				tokens <- grant.AccessToken.Reveal()
			}()
		}
		good, replaced := 0, 0
		all := make([]string, n)
		for i := range all {
			all[i] = <-tokens
		}
		for _, accessToken := range all {
			switch _, err := auth.Validate(t.Context(), accessToken); {
			case err == nil:
				good++
			case errors.Is(err, tokenauth.ErrReplacedToken):
				replaced++
			case !errors.Is(err, tokenauth.ErrInvalidToken):
				t.Error(err)
			}
		}
		if good != 1 || replaced != 1 {
			t.Errorf("%d tokens are valid and %d replaced, want one and one", good, replaced)
		}

		// Revoke the user while more tokens are being issued.
		before := make([]string, 0, n)
		for i := range 20 {
			grant, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: user.ID}, fmt.Sprint("client", i))
			if err != nil {
				t.Fatal(err)
			}
			before = append(before, grant.AccessToken.Reveal())
		}
		done := make(chan struct{})
		for range 50 {
			go func() {
				if _, err := signIn(t.Context(), auth, "alice", "password"); err != nil {
					t.Error(err)
				}
				done <- struct{}{}
			}()
		}
		if err := auth.RevokeUser(t.Context(), user.ID); err != nil {
			t.Fatal(err)
		}
		for _, accessToken := range before {
			if _, err := auth.Validate(t.Context(), accessToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
				t.Errorf("validating a token from before RevokeUser: error %v, want ErrInvalidToken", err)
			}
		}
		for range 50 {
			<-done
		}
	})
}
