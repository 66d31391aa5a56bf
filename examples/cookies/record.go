package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

// A record has what the application saw of each request that a page made the
// browser send. The page gives each one an ID, in the parameter "request".
type record struct {
	mu       sync.Mutex
	requests map[string][]request
	news     chan struct{} // closed when there is another request
}

// A request is one that arrived at the application.
type request struct {
	Method  string `json:"method"`
	Cookie  bool   `json:"cookie"`  // the browser sent the cookie
	Reached bool   `json:"reached"` // the request reached its handler
	Status  int    `json:"status"`
}

func newRecord() *record {
	return &record{requests: make(map[string][]request), news: make(chan struct{})}
}

func (r *record) add(id string, one request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests[id] = append(r.requests[id], one)
	close(r.news)
	r.news = make(chan struct{})
}

// take removes the requests with the ID, and returns them. It also returns a
// channel that is closed when there are more.
func (r *record) take(id string) ([]request, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	requests := append([]request{}, r.requests[id]...) // not nil: in JSON it is an array
	delete(r.requests, id)
	return requests, r.news
}

// refused records requests that do not reach their handler. It is for the engine.
func (r *record) refused(c *gin.Context) {
	id := c.Query("request")
	if id == "" {
		return
	}
	c.Next()
	if one := seen(c); !one.Reached {
		one.Status = c.Writer.Status()
		r.add(id, one)
	}
}

const reachedKey = "reached"

// reached records that a request reached its handler, which answers with this
// status. It comes after the guard.
func (r *record) reached(status int) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Set(reachedKey, true)
		if id := c.Query("request"); id != "" {
			one := seen(c)
			one.Status = status
			r.add(id, one)
		}
	}
}

func seen(c *gin.Context) request {
	return request{
		Method:  c.Request.Method,
		Cookie:  strings.Contains(c.GetHeader("Cookie"), "session="),
		Reached: c.GetBool(reachedKey),
	}
}

// ServeHTTP answers with the requests that have the ID. With the parameter "wait"
// it waits for the first one.
func (r *record) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	requests, news := r.take(req.FormValue("request"))
	for tooLate := time.After(time.Minute); len(requests) == 0 && req.FormValue("wait") != ""; {
		select {
		case <-news:
		case <-tooLate:
			http.Error(w, "no request arrived", http.StatusGatewayTimeout)
			return
		case <-req.Context().Done():
			return
		}
		requests, news = r.take(req.FormValue("request"))
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(requests)
}
