package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// Each step of the script fails if the replicas break its promise. The test's
// replicas give the same response to every request.
func TestStepsFailOnBrokenPromises(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		play   func(*script, context.Context) error
	}{
		"valid token refused":      {401, (*script).acceptedEverywhere},
		"no cache hits":            {200, (*script).validateFromCache},
		"guesses not throttled":    {400, (*script).guess},
		"alice cannot sign in":     {503, (*script).signInAlice},
		"ended token accepted":     {200, refusedSoon},
		"503 instead of a refusal": {503, refusedSoon},
		"feed never alive":         {200, func(s *script, ctx context.Context) error { return s.feedsAlive(shortly(ctx)) }},
		"replaced token accepted":  {200, func(s *script, ctx context.Context) error { return s.replace(shortly(ctx)) }},
		"operator cannot sign in":  {429, (*script).revoke},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(test.status)
				io.WriteString(w, "{}")
			}))
			defer server.Close()
			s := &script{out: io.Discard, balancer: server.URL}
			for range 3 {
				s.replicas = append(s.replicas, &process{address: address{server.Listener.Addr().String()}})
			}
			if err := test.play(s, t.Context()); err == nil {
				t.Error("the step returned nil, want an error")
			}
		})
	}
}

func refusedSoon(s *script, ctx context.Context) error {
	return s.refusedEverywhere(shortly(ctx), "token", time.Now(), "nothing")
}

// shortly returns a context that ends soon.
func shortly(ctx context.Context) context.Context {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	context.AfterFunc(ctx, cancel)
	return ctx
}
