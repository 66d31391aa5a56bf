package abuse_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// A workshop is a service whose password hashing blocks until the test releases
// it. It hashes one password at a time, and placesToWait further sign-ins may
// wait.
type workshop struct {
	url         string
	accessToken string
	goOn        chan struct{} // closed when hashing may finish
	release     func()        // closes goOn
	began, most atomic.Int64  // the number of hashes that began, and the largest number at once
	working     atomic.Int64
}

const placesToWait = 4

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	w := &workshop{goOn: make(chan struct{})}
	w.release = sync.OnceFunc(func() { close(w.goOn) })
	users, err := password.New(func(_ context.Context, userName string) (password.Account, error) {
		return password.Account{UserID: userName, UserName: userName, PasswordHash: "$workshop$" + userName}, nil
	}, &password.Options{
		MaxHashing: 1, MaxWaiting: placesToWait, Logger: new(journal).logger(),
		Formats: []func(string) func(string) bool{func(stored string) func(string) bool {
			if !strings.HasPrefix(stored, "$workshop$") {
				return nil
			}
			return func(string) bool {
				w.began.Add(1)
				w.most.Store(max(w.most.Load(), w.working.Add(1)))
				defer w.working.Add(-1)
				<-w.goOn
				if stored == "$workshop$panic" {
					panic("a bug in the host's password format")
				}
				return true
			}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := tokenauth.New(new(memory.Store), users, &tokenauth.Options{
		Logger: new(journal).logger(), Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	grant, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: "somebody"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.accessToken = grant.AccessToken.Reveal()
	r := gin.Default()
	ginadapter.Mount(r, auth)
	r.GET("/me", ginadapter.RequireBearer(auth), func(c *gin.Context) { c.Status(http.StatusNoContent) })
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	t.Cleanup(w.release) // otherwise the server waits forever
	w.url = server.URL
	return w
}

func (w *workshop) signIn(ctx context.Context, userName string) (*http.Response, error) {
	form := url.Values{"grant_type": {"password"}, "username": {userName}, "password": {strings.Repeat("p", 1024)}}
	r, err := http.NewRequestWithContext(ctx, "POST", w.url+"/Token", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(r)
	if err == nil {
		response.Body.Close()
	}
	return response, err
}

// Of 500 concurrent sign-ins, one is hashed, four wait, and the rest get 503 at
// once. Requests with a token are still answered.
func crowd(t *testing.T) {
	w := newWorkshop(t)
	const n = 500
	statuses := make(chan int, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			response, err := w.signIn(t.Context(), fmt.Sprint("user", i))
			if err != nil {
				t.Error(err)
				return
			}
			if response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") == "" {
				t.Error("a 503 answer has no Retry-After")
			}
			statuses <- response.StatusCode
		})
	}
	// No hash finishes before the release, so these sign-ins get 503 without
	// waiting.
	for range n - 1 - placesToWait {
		if status := <-statuses; status != http.StatusServiceUnavailable {
			t.Errorf("sign-in while all places are taken: got %d, want 503", status)
		}
	}
	r, err := http.NewRequest("GET", w.url+"/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.accessToken)
	if response, err := http.DefaultClient.Do(r); err != nil || response.StatusCode != http.StatusNoContent {
		t.Errorf("request with a token while passwords are hashed: got %v, %v, want 204", response, err)
	}
	w.release()
	wg.Wait()
	for range 1 + placesToWait {
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("sign-in that waited: got %d, want 200", status)
		}
	}
	if began, most := w.began.Load(), w.most.Load(); began != 1+placesToWait || most != 1 {
		t.Errorf("%d passwords were hashed, at most %d at once; want %d and 1", began, most, 1+placesToWait)
	}
}

// A client that disconnects while it waits frees its place, and its password is
// not hashed.
func waiterLeaves(t *testing.T) {
	w := newWorkshop(t)
	var wg sync.WaitGroup
	var refused atomic.Int64 // when a sign-in last got 503
	stays := func(user string) {
		wg.Go(func() {
			for {
				response, err := w.signIn(t.Context(), user)
				if err == nil && response.StatusCode == http.StatusServiceUnavailable {
					refused.Store(time.Now().UnixNano())
					continue // no place is free yet
				}
				if err != nil || response.StatusCode != http.StatusOK {
					t.Errorf("sign-in of %s: got %v, %v, want 200", user, response, err)
				}
				return
			}
		})
	}
	stays("first")
	eventually(t, "the first password is being hashed", func() bool { return w.began.Load() == 1 })
	ctx, leave := context.WithCancel(t.Context())
	var gone sync.WaitGroup
	for i := range placesToWait {
		gone.Go(func() {
			response, err := w.signIn(ctx, fmt.Sprint("leaves", i))
			switch {
			case err != nil:
			case response.StatusCode == http.StatusServiceUnavailable:
				refused.Store(time.Now().UnixNano())
			default:
				t.Errorf("a sign-in whose client disconnected was answered with %d", response.StatusCode)
			}
		})
	}
	// While those wait, as many further sign-ins find no free place. They find one
	// after the others left, although the first is still being hashed.
	for i := range placesToWait {
		stays(fmt.Sprint("comes", i))
	}
	eventually(t, "a sign-in got 503", func() bool { return refused.Load() != 0 })
	leave()
	gone.Wait()
	eventually(t, "all sign-ins have a place", func() bool { return time.Since(time.Unix(0, refused.Load())) > 500*time.Millisecond })
	w.release()
	wg.Wait()
	if began := w.began.Load(); began != 1+placesToWait {
		t.Errorf("%d passwords were hashed, want %d", began, 1+placesToWait)
	}
}

func panicFreesThePlace(t *testing.T) {
	w := newWorkshop(t)
	w.release()
	for range 3 * (1 + placesToWait) {
		if response, err := w.signIn(t.Context(), "panic"); err != nil || response.StatusCode != http.StatusInternalServerError || !response.Close {
			t.Fatalf("sign-in whose hashing panics: got %v, %v, want 500 and a closed connection", response, err)
		}
	}
	if response, err := w.signIn(t.Context(), "somebody"); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("sign-in after the panics: got %v, %v, want 200", response, err)
	}
}
