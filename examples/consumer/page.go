package main

import (
	"embed"
	"net/http"

	"github.com/gin-gonic/gin"
)

//go:embed page.html page.js page.css page.svg
var files embed.FS

// policy lets the page load its own files and nothing else. A script or a style
// that gets into the page, for example by the name of a device, does not run.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// servePage serves the page at /. It is the same for all visitors, so it needs no
// guard.
func servePage(r gin.IRouter) {
	file := func(name string) gin.HandlerFunc {
		return func(c *gin.Context) {
			h := c.Writer.Header()
			h.Set("Content-Security-Policy", policy)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("Cache-Control", "no-cache")
			http.ServeFileFS(c.Writer, c.Request, files, name)
		}
	}
	r.GET("/", file("page.html"))
	for _, name := range []string{"page.js", "page.css", "page.svg"} {
		r.GET("/"+name, file(name))
	}
}
