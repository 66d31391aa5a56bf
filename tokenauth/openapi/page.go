package openapi

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/bearerkit/bearerkit/tokenauth/internal/request"
)

//go:embed assets
var files embed.FS

// Page returns a handler of the documentation page, to be mounted at a path
// that ends in a slash with all that is below it, such as "/docs/". A request
// without the slash is sent there.
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
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, page); err != nil {
		panic(err) // it is embedded, and so are its data
	}
	html := newAsset("text/html; charset=utf-8", b.Bytes())
	policy := d.contentSecurityPolicy()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = request.Complete(r)
		// The last segment tells, so that it does not matter what the page is
		// mounted below, nor what a proxy takes off the front.
		segment := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		switch a, ok := assets[segment]; {
		case segment == "":
			h := w.Header()
			h.Set("Content-Security-Policy", policy)
			h.Set("Referrer-Policy", "no-referrer")
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

type pageData struct {
	Title, Description string
	Styles, Scripts    []string
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
