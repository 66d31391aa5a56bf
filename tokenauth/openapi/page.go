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

// Page returns a handler of the documentation page and its files. Mount it
// twice: at a pattern for the whole subtree, such as "/docs/" of
// [http.ServeMux], and at the same path without the slash, such as "/docs". The
// handler redirects "/docs" to "/docs/" by a relative URL, which also works
// behind a proxy that removes a prefix. A router's own redirect does not work
// there.
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
		// The last path segment alone decides what to serve. So it does not matter
		// where the page is mounted, or which prefix a proxy strips.
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

// contentSecurityPolicy returns a policy that allows the page's own files, the
// icons in its style sheet (data URLs), and calls to the API.
func (d *Description) contentSecurityPolicy() string {
	calls := "'self'"
	if d.server != nil && d.server.Host != "" {
		calls += " " + d.server.Scheme + "://" + d.server.Host
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src " + calls +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// maxDepth is the maximum number of folders above the page. The handler keeps a
// variant of the page for each number, so maxDepth also limits the memory that
// the variants take.
const maxDepth = 16

// depthOf returns the number of folders between the root of the API and the page,
// in the URL that the server received. If a proxy removes a prefix, the browser's
// URL has more folders.
//
// If [http.StripPrefix] removed a prefix, depthOf assumes that it wraps the whole
// API, and does not count the prefix. But if only the page's own path remains,
// [http.StripPrefix] wraps the page alone, and depthOf counts the whole URL.
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
	Root               string // relative URL of the API's root; "" if Options.Server is set
	Styles, Scripts    []string
}

func (d pageData) asset() asset {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, d); err != nil {
		panic(err) // a bug, since the template is embedded
	}
	return newAsset("text/html; charset=utf-8", b.Bytes())
}

var pageTemplate = template.Must(template.ParseFS(files, "assets/page.html"))

type pageAsset struct {
	base, extension string
	asset
}

// pageAssets returns the files of the page. The first call of [Description.Page]
// unpacks them.
var pageAssets = sync.OnceValue(func() []pageAsset {
	const script, style = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
	return []pageAsset{
		{"swagger-ui", ".css", embedded("swagger-ui.css.gz", style)},
		{"page", ".css", embedded("page.css", style)},
		{"swagger-ui-bundle", ".js", embedded("swagger-ui-bundle.js.gz", script)},
		{"page", ".js", embedded("page.js", script)},
	}
})

// embedded returns a file of the embedded folder assets.
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
