// Package request completes requests that no server made.
package request

import (
	"net/http"
	"net/url"
)

// Complete returns the request with all that a server's has: a method, a URL, a
// header and a body. Those of tests, and of adapters to what is not HTTP, may lack
// each. It returns r itself if that is complete, and else a copy. Nil is a request
// without anything.
func Complete(r *http.Request) *http.Request {
	if r == nil {
		r = new(http.Request)
	}
	if r.Method != "" && r.URL != nil && r.Header != nil && r.Body != nil {
		return r
	}
	r = r.WithContext(r.Context())
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	if r.URL == nil {
		r.URL = &url.URL{Path: "/"}
	}
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	return r
}
