// Package openapi describes the Token API of a service in OpenAPI 3.1, and
// shows it on a page where it can be tried out.
//
// [New] makes a [Description] of what a host has mounted: each path and
// method, and each answer with an example. It is a handler that serves the
// description as JSON, and [Description.Page] one that serves the page:
//
//	mounted := auth.Mount(mux, tokenauth.Endpoints{})
//	d, err := openapi.New(auth, mounted, nil)
//	…
//	mux.Handle("GET /openapi.json", d)
//	page := d.Page()
//	mux.Handle("GET /docs", page)
//	mux.Handle("GET /docs/", page)
//
// Gin needs a wildcard for what is below the page:
//
//	r.GET("/openapi.json", gin.WrapH(d))
//	page := gin.WrapH(d.Page())
//	r.GET("/docs", page)
//	r.GET("/docs/*file", page)
//
// # The host's own routes
//
// A host adds routes of its own by [Options.Paths], and they are on the page
// with the others. One that has a description already merges this one into it
// by [Description.Merge]. Either way its operations refer to the security
// scheme "bearer", and to the refusals of a guard as they are among the
// components:
//
//	status  #/components/responses/…
//	400     BearerInvalidRequest
//	401     BearerUnauthorized
//	403     BearerForbidden
//	500     BearerServerError
//	503     BearerUnavailable
//
// [Protected] adds them to an operation.
//
// # The page
//
// The page is Swagger UI, which is embedded in the program with its licence
// (Apache 2.0, in the folder assets). Nothing is loaded from elsewhere, and a
// Content-Security-Policy holds the browser to that: scripts, styles and calls
// are the host's own, nothing is inline, nothing is evaluated. Whoever signs in
// on the page is signed in there until the page is closed or loaded again; it
// stores neither password nor token.
//
// The first operation is shown as soon as Swagger UI can, and then its answers
// and the others. BenchmarkPage measures how soon that is.
//
// A page that anybody can open tells nothing that the API does not tell, but a
// host that does not want to show it puts a guard of its own in front.
package openapi

// The assets are those of the npm package that testdata/package.json names.
//
//go:generate npm ci --prefix testdata
//go:generate cp testdata/node_modules/swagger-ui-dist/swagger-ui.css assets
//go:generate cp testdata/node_modules/swagger-ui-dist/swagger-ui-bundle.js assets
//go:generate gzip -9nf assets/swagger-ui.css assets/swagger-ui-bundle.js
//go:generate cp testdata/node_modules/swagger-ui-dist/LICENSE assets
//go:generate cp testdata/node_modules/swagger-ui-dist/NOTICE assets
//go:generate cp testdata/node_modules/swagger-ui-dist/swagger-ui-bundle.js.LICENSE.txt assets
