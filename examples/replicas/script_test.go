package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A script that always says that all is well would be none: these are steps on
// replicas that always answer the same.
func TestNoticesBrokenPromises(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		play   func(*script, context.Context) error
	}{
		"a good token is refused":     {401, (*script).goodEverywhere},
		"nobody asks the cache":       {200, (*script).validateFromCache},
		"guessing goes on":            {400, (*script).guess},
		"alice cannot sign in":        {503, (*script).signInAlice},
		"an ended token is good":      {200, refusedSoon},
		"a fault stands in for a no":  {503, refusedSoon},
		"the feed is never alive":     {200, func(s *script, ctx context.Context) error { return s.feedsAlive(shortly(ctx)) }},
		"an old token is good":        {200, func(s *script, ctx context.Context) error { return s.replace(shortly(ctx)) }},
		"the operator cannot sign in": {429, (*script).revoke},
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
				t.Error("nothing was noticed")
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
