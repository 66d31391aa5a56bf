package main

import (
	"embed"
	"html/template"
	"net/http"
)

//go:embed page.html requests.js worker.js
var files embed.FS

var pageHTML = template.Must(template.ParseFS(files, "page.html"))

// pages returns the page that sends the requests, for the application and for
// another site. Both parameters are base URLs.
func pages(app, other string, r *record) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		pageHTML.Execute(w, struct{ App, Other string }{app, other})
	})
	mux.Handle("GET /requests.js", http.FileServerFS(files))
	mux.Handle("GET /worker.js", http.FileServerFS(files))
	mux.Handle("GET /record", r)
	return mux
}

// otherSite returns the server of another site, whose pages try to use the cookie
// of the application.
func otherSite(app string, r *record) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", pages(app, "", r))
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusTemporaryRedirect) // keeps the method
	})
	return mux
}
