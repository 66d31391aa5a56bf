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

// Page returns a handler of the documentation page. Mount it twice: at a subtree
// pattern that ends in a slash, such as "/docs/" of [http.ServeMux], and at the
// same path without the slash. Its own redirect from "/docs" is relative, so it
// also works behind a proxy that removes a prefix; a router's redirect does not.
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
		// Only the last segment selects the file. So the page works at any path,
		// and behind a proxy that removes a prefix.
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

// contentSecurityPolicy allows the page's own files, the icons in its style sheet
// (data URLs), and calls of the API.
func (d *Description) contentSecurityPolicy() string {
	calls := "'self'"
	if d.server != nil && d.server.Host != "" {
		calls += " " + d.server.Scheme + "://" + d.server.Host
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src " + calls +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// maxDepth is the maximum number of folders above the page. It also limits the
// number of variants of the page that are kept.
const maxDepth = 16

// depthOf returns the number of folders between the root of the API and the page,
// in the URL that the server received. The browser may see more folders, if a
// proxy removes a prefix.
//
// A prefix that [http.StripPrefix] removed is in front of the whole API, unless
// only the page itself remains after it.
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
	Root               string // relative URL of the API's root; "" if the description names a server
	Styles, Scripts    []string
}

func (d pageData) asset() asset {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, d); err != nil {
		panic(err) // the template is embedded, so an error is a bug
	}
	return newAsset("text/html; charset=utf-8", b.Bytes())
}

var pageTemplate = template.Must(template.ParseFS(files, "assets/page.html"))

type pageAsset struct {
	base, extension string
	asset
}

// pageAssets reads the files of the page. A program that never calls
// [Description.Page] does not unpack them.
var pageAssets = sync.OnceValue(func() []pageAsset {
	const script, style = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
	return []pageAsset{
		{"swagger-ui", ".css", embedded("swagger-ui.css.gz", style)},
		{"page", ".css", embedded("page.css", style)},
		{"swagger-ui-bundle", ".js", embedded("swagger-ui-bundle.js.gz", script)},
		{"page", ".js", embedded("page.js", script)},
	}
})

// embedded returns an embedded file of the folder assets.
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
