package openapi

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"

	"github.com/bearerkit/bearerkit/tokenauth/internal/request"
)

//go:embed assets
var files embed.FS

// Page returns a handler of the documentation page. Mount it at a path that ends
// in a slash with all that is below it, such as "/docs/", and at the path without
// the slash: a router's own redirect from there leads past the prefix that a proxy
// takes off.
func (d *Description) Page() http.Handler {
	assets := make(map[string]asset)
	page := pageData{Title: d.title, Description: "openapi.json"}
	for _, a := range pageAssets() {
		name := a.base + "." + a.hash + a.extension
		assets[name] = a.asset
		switch a.extension {
		case ".css":
			page.Styles = append(page.Styles, name)
		case ".js":
			page.Scripts = append(page.Scripts, name)
		}
	}
	var html [maxDepth + 1]func() asset
	for depth := range html {
		html[depth] = sync.OnceValue(func() asset {
			page := page
			if d.server == nil {
				page.Root = "./" + strings.Repeat("../", depth)
			}
			return page.asset()
		})
	}
	policy := d.contentSecurityPolicy()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = request.Complete(r)
		// The last segment tells, so that it does not matter what the page is
		// mounted below, nor what a proxy takes off the front.
		segment := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		depth := depthOf(r)
		switch a, ok := assets[segment]; {
		case segment == "" && depth > maxDepth:
			http.NotFound(w, r)
		case segment == "":
			h := w.Header()
			h.Set("Content-Security-Policy", policy)
			h.Set("Referrer-Policy", "no-referrer")
			html := html[depth]()
			html.serve(w, r, noStore)
		case ok:
			a.serve(w, r, immutable)
		case segment == page.Description:
			d.ServeHTTP(w, r)
		case strings.Contains(segment, "."):
			http.NotFound(w, r)
		default:
			w.Header().Set("Location", "./"+path.Base(r.URL.EscapedPath())+"/")
			w.WriteHeader(http.StatusPermanentRedirect)
		}
	})
}

// contentSecurityPolicy names all that the page needs: its own files, the
// icons that its style sheet holds as data, and calls of the API.
func (d *Description) contentSecurityPolicy() string {
	calls := "'self'"
	if d.server != nil && d.server.Host != "" {
		calls += " " + d.server.Scheme + "://" + d.server.Host
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src " + calls +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// maxDepth bounds how many folders the page may be below, and with them the
// variants of it.
const maxDepth = 16

// depthOf returns how many folders the page is below the root of the API, as the
// server sees it. A proxy may have taken others off, which the browser sees.
//
// A prefix that http.StripPrefix took off is in front of the whole API, unless only
// the page is left below it.
func depthOf(r *http.Request) int {
	path := r.URL.EscapedPath()
	if u, err := url.ParseRequestURI(r.RequestURI); err == nil {
		if whole := u.EscapedPath(); strings.Count(path, "/") < 2 || !strings.HasSuffix(whole, path) {
			path = whole
		}
	}
	return max(0, strings.Count(path, "/")-1)
}

type pageData struct {
	Title, Description string
	Root               string // of the API, from the page; "" if the description knows
	Styles, Scripts    []string
}

func (d pageData) asset() asset {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, d); err != nil {
		panic(err) // it is embedded, and so are its data
	}
	return newAsset("text/html; charset=utf-8", b.Bytes())
}

var pageTemplate = template.Must(template.ParseFS(files, "assets/page.html"))

type pageAsset struct {
	base, extension string
	asset
}

// pageAssets are read when the first page is made: a program that serves none
// pays for none.
var pageAssets = sync.OnceValue(func() []pageAsset {
	const script, style = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
	return []pageAsset{
		{"swagger-ui", ".css", embedded("swagger-ui.css.gz", style)},
		{"page", ".css", embedded("page.css", style)},
		{"swagger-ui-bundle", ".js", embedded("swagger-ui-bundle.js.gz", script)},
		{"page", ".js", embedded("page.js", script)},
	}
})

func embedded(name, mediaType string) asset {
	b, err := files.ReadFile("assets/" + name)
	if err != nil {
		panic(err)
	}
	if !strings.HasSuffix(name, ".gz") {
		return newAsset(mediaType, b)
	}
	a, err := gzippedAsset(mediaType, b)
	if err != nil {
		panic(err)
	}
	return a
}
