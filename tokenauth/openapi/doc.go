// Package openapi describes the Token API of a service, the host, in OpenAPI 3.1.
// It also serves a documentation page that can send requests.
//
// [New] returns a [Description] of the endpoints that a host mounted. It covers
// each path and method, and has an example of each response. The [Description]
// is an [http.Handler] that serves the description as JSON. [Description.Page]
// returns a handler of the page:
//
//	mounted := auth.Mount(mux, tokenauth.Endpoints{})
//	d, err := openapi.New(auth, mounted, nil)
//	…
//	mux.Handle("GET /openapi.json", d)
//	page := d.Page()
//	mux.Handle("GET /docs", page)
//	mux.Handle("GET /docs/", page)
//
// Gin needs a wildcard for the files below the page:
//
//	r.GET("/openapi.json", gin.WrapH(d))
//	page := gin.WrapH(d.Page())
//	r.GET("/docs", page)
//	r.GET("/docs/*file", page)
//
// # The host's own routes
//
// [Options.Paths] adds the host's own routes, which the page shows first. A host
// that already has an OpenAPI description adds the Token API to it with
// [Description.Merge]. In both cases, the host's operations can refer to the
// security scheme "bearer", to "key" if the Service has API keys
// ([tokenauth.Options.Keys]), and to these error responses of protected routes:
//
//	status  #/components/responses/…
//	400     BearerInvalidRequest
//	401     BearerUnauthorized
//	403     BearerForbidden
//	500     BearerServerError
//	503     BearerUnavailable
//
// [Protected] adds the security scheme and the responses to an operation.
//
// # The page
//
// The page is Swagger UI, which is embedded in the program with its license
// (Apache 2.0, in the folder assets). It follows the reader's light or dark
// color scheme, and fits windows as narrow as 360 pixels.
//
// The page loads nothing from other servers. Its Content-Security-Policy allows
// scripts and styles only from the host itself, and calls only to the host and to
// [Options.Server]. It forbids inline scripts and eval. A sign-in on the page
// lasts until the page is closed or reloaded. The page stores neither password nor
// token.
//
// The page first shows one operation, then its responses and the other operations.
// BenchmarkPage measures the time until the first operation is shown.
//
// The page has no access control. To restrict it, mount it behind
// [tokenauth.Service.RequireBearer] or the host's own middleware.
package openapi

// The files of Swagger UI come from the npm package in testdata/package.json.
//
//go:generate npm ci --prefix testdata
//go:generate cp testdata/node_modules/swagger-ui-dist/swagger-ui.css assets
//go:generate cp testdata/node_modules/swagger-ui-dist/swagger-ui-bundle.js assets
//go:generate gzip -9nf assets/swagger-ui.css assets/swagger-ui-bundle.js
//go:generate cp testdata/node_modules/swagger-ui-dist/LICENSE assets
//go:generate cp testdata/node_modules/swagger-ui-dist/NOTICE assets
//go:generate cp testdata/node_modules/swagger-ui-dist/swagger-ui-bundle.js.LICENSE.txt assets
