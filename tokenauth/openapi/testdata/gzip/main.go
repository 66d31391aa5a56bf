// Command gzip runs a host behind gin-contrib/gzip. It requests each path with and
// without compression, and prints whether the bodies are equal.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"

	"github.com/gin-contrib/gzip"
	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/openapi"
	"github.com/bearerkit/bearerkit/tokenauth/prommetrics"
)

type rejectAll struct{}

func (rejectAll) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	return tokenauth.Principal{}, tokenauth.ErrRejected
}

func main() {
	metrics := prommetrics.New()
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)
	auth, err := tokenauth.New(new(memory.Store), rejectAll{}, nil)
	must(err)

	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gzip.Gzip(gzip.DefaultCompression))
	d, err := openapi.New(auth, ginadapter.Mount(r, auth), nil)
	must(err)
	r.GET("/openapi.json", gin.WrapH(d))
	page := gin.WrapH(d.Page())
	r.GET("/docs", page)
	r.GET("/docs/*file", page)
	r.GET("/me", ginadapter.RequireBearer(auth), func(c *gin.Context) {})
	r.GET("/metrics", gin.WrapH(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})))
	r.GET("/metrics-plain", gin.WrapH(promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true})))
	server := httptest.NewServer(r)
	defer server.Close()

	paths := []string{"/openapi.json", "/docs/", "/Token", "/me", "/metrics", "/metrics-plain"}
	html, _ := get(server.URL+"/docs/", "")
	for _, link := range regexp.MustCompile(`(?:href|src)="([^":,]+\.(?:css|js))"`).FindAllStringSubmatch(html, -1) {
		paths = append(paths, "/docs/"+link[1])
	}
	for _, path := range paths {
		plain, _ := get(server.URL+path, "identity")
		packed, how := get(server.URL+path, "") // the client unpacks gzip
		name := regexp.MustCompile(`\.[0-9a-f]{16}\.`).ReplaceAllString(path, ".")
		if packed == plain && plain != "" {
			fmt.Println(name, "is the same", how)
		} else {
			fmt.Println(name, "is garbled", how)
		}
	}
	first, err := http.Get(server.URL + "/openapi.json")
	must(err)
	first.Body.Close()
	request, err := http.NewRequest("GET", server.URL+"/openapi.json", nil)
	must(err)
	request.Header.Set("If-None-Match", strings.TrimPrefix(first.Header.Get("ETag"), "W/"))
	again, err := http.DefaultClient.Do(request)
	must(err)
	again.Body.Close()
	fmt.Println("/openapi.json again is", again.StatusCode)
}

func get(url, acceptEncoding string) (body, how string) {
	request, err := http.NewRequest("GET", url, nil)
	must(err)
	if acceptEncoding != "" {
		request.Header.Set("Accept-Encoding", acceptEncoding)
	}
	response, err := http.DefaultClient.Do(request)
	must(err)
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		b = nil
	}
	if response.Uncompressed {
		how = "unpacked"
	}
	return string(b), how
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
