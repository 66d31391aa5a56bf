package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func TestProgramServesBothSites(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, in, 0, 0)
		in.CloseWithError(err)
		ended <- err
	}()
	lines := bufio.NewReader(out)
	for range 3 {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		address := regexp.MustCompile(`http://\S+`).FindString(line)
		response, err := http.Get(address)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s answered %d, want 200", address, response.StatusCode)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Anyone can send a body to /sign-in, so the handler reads only a small one.
func TestSignInLimitsTheBody(t *testing.T) {
	t.Parallel()
	users, err := trialUsers()
	if err != nil {
		t.Fatal(err)
	}
	auth, err := tokenauth.New(new(memory.Store), users, nil)
	if err != nil {
		t.Fatal(err)
	}
	handler := newApp(auth, session).routes(http.NotFoundHandler())
	for size, want := range map[int]int{100: http.StatusNoContent, 1 << 20: http.StatusBadRequest} {
		for _, form := range []string{"urlencoded", "multipart"} {
			var body bytes.Buffer
			fields := url.Values{"name": {"alice"}, "password": {"password"}, "filling": {strings.Repeat("x", size)}}
			contentType := "application/x-www-form-urlencoded"
			if form == "multipart" {
				multi := multipart.NewWriter(&body)
				for name, values := range fields {
					multi.WriteField(name, values[0])
				}
				multi.Close()
				contentType = multi.FormDataContentType()
			} else {
				body.WriteString(fields.Encode())
			}
			r := httptest.NewRequest("POST", "/sign-in", &body)
			r.Header.Set("Content-Type", contentType)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("a %s body with %d bytes of filling: answered %d, want %d", form, size, w.Code, want)
			}
		}
	}
}
