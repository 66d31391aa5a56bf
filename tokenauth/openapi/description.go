package openapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/internal/request"
)

// Options configures a [Description]. Nil or the zero value selects the defaults.
type Options struct {
	// Title is the name of the API. Empty means "Token API".
	Title string

	// Version is the version of the API, not of OpenAPI. Empty means "1".
	Version string

	// Server is the base URL of the paths, such as "https://api.example.com/v1",
	// or a path on the same server, such as "/v1". It must not have a query or a
	// fragment.
	//
	// Empty means the server that serves the description. If
	// [tokenauth.Endpoints.Issuer] has a path prefix that a proxy removes, the
	// served description includes that prefix. The page also detects by itself
	// a prefix that a proxy removes, or that [http.StripPrefix] around the
	// whole API removes.
	Server string

	// Paths describes the host's own routes, which the description and the page
	// list before the Token API. Each key is a path with a leading slash. Each
	// value must encode to a Path Item Object in JSON. [Protected] returns
	// operations for it. If Paths is empty, only the Token API is described.
	Paths map[string]any

	// OwnErrors omits the bodies of error responses of protected routes. Set it
	// if the host writes these bodies in its own format, for example with
	// [github.com/bearerkit/bearerkit/ginadapter.RenderErrors]. If OwnErrors is
	// false, the bodies are omitted only if [tokenauth.Options.RenderError] is
	// set.
	OwnErrors bool
}

// A Description is an OpenAPI description of a Token API. It is an
// [http.Handler] that answers GET and HEAD with the description.
// It is safe for concurrent use.
type Description struct {
	title    string
	server   *url.URL // nil unless Options.Server is set
	document object
	json     []byte
	served   asset
}

// New describes the endpoints that a host mounted. Pass the endpoints that
// [tokenauth.Service.Mount] or
// [github.com/bearerkit/bearerkit/ginadapter.Mount] returned, since they have the
// full paths. A nil o selects the defaults. It is an error if the token endpoint
// is not among them, because the Service has no [tokenauth.Authenticator].
func New(auth *tokenauth.Service, mounted tokenauth.Endpoints, o *Options) (*Description, error) {
	if o == nil {
		o = new(Options)
	}
	handlers, mounted, err := auth.Handlers("", mounted)
	if err != nil {
		return nil, err
	}
	f := &facts{Options: auth.Options()}
	if len(mounted.Token) == 0 {
		return nil, errors.New("openapi: there is no token endpoint to describe: the Service has no Authenticator")
	}
	if f.mounted, err = templates(mounted); err != nil {
		return nil, err
	}
	f.ownErrors = o.OwnErrors || f.RenderError != nil
	if path := mounted.MetadataPath(); path != "" {
		if f.metadataBody, err = answerOf(handlers[path]); err != nil {
			return nil, err
		}
	}
	d := &Description{title: or(o.Title, "Token API")}
	paths, err := f.paths(o.Paths)
	if err != nil {
		return nil, err
	}
	d.document = object{
		{"openapi", "3.1.0"},
		{"info", object{{"title", d.title}, {"version", or(o.Version, "1")}, {"description", f.introduction()}}},
	}
	if o.Server != "" {
		if d.server, err = parseServer(o.Server); err != nil {
			return nil, err
		}
		d.document = d.document.set("servers", []object{{{"url", o.Server}}})
	}
	d.document = append(d.document, object{{"tags", f.tags(paths)}, {"paths", paths}, {"components", f.components()}}...)
	b, err := encode(d.document)
	if err != nil {
		return nil, fmt.Errorf("openapi: encoding Options.Paths: %w", err)
	}
	d.json = b
	if prefix := f.prefix(); prefix != "" && d.server == nil {
		if b, err = encode(d.below(prefix, mounted.MetadataPath())); err != nil {
			return nil, err
		}
	}
	d.served = newAsset("application/json", b)
	return d, nil
}

// parseServer parses [Options.Server].
func parseServer(server string) (*url.URL, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("openapi: Options.Server: %w", err)
	}
	absolute := (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
	path := u.Scheme == "" && u.Host == "" && strings.HasPrefix(u.Path, "/")
	if !absolute && !path || u.RawQuery != "" || u.ForceQuery || strings.Contains(server, "#") {
		return nil, fmt.Errorf("openapi: Options.Server is %q, want an https or http URL, or a path with a leading slash, without a query or a fragment", server)
	}
	return u, nil
}

// below returns the document for clients of a proxy that removes the prefix. The
// URL of the metadata has its well-known path before the prefix (RFC 8414 §3.1).
func (d *Description) below(prefix, metadataPath string) object {
	document := slices.Clone(d.document)
	paths := slices.Clone(document.get("paths").(object))
	metadata := append(object{{"servers", []object{{{"url", "/"}}}}}, paths.get(metadataPath).(object)...)
	return document.set("paths", paths.set(metadataPath, metadata)).set("servers", []object{{{"url", prefix}}})
}

// JSON returns the description as JSON. It names a server only if
// [Options.Server] is set.
func (d *Description) JSON() []byte { return slices.Clone(d.json) }

// ServeHTTP serves the description as JSON.
func (d *Description) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Caches must revalidate: the next version of the host may have other routes.
	d.served.serve(w, request.Complete(r), "no-cache")
}

// paths returns the host's own paths, followed by the paths of the endpoints.
func (f *facts) paths(own map[string]any) (object, error) {
	endpoints := f.endpoints()
	var paths object
	for _, path := range slices.Sorted(maps.Keys(own)) {
		if strings.Contains(path, "/:") || strings.Contains(path, "/*") {
			return nil, fmt.Errorf("openapi: Options.Paths has the path %q, want path parameters written as {name}", path)
		}
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("openapi: Options.Paths has the path %q, want a path with a leading slash", path)
		}
		if endpoints.get(path) != nil {
			return nil, fmt.Errorf("openapi: Options.Paths has the path %q, but an endpoint of the Token API is mounted there", path)
		}
		var item object
		b, err := encode(own[path])
		if err == nil {
			err = json.Unmarshal(b, &item)
		}
		if err != nil {
			return nil, fmt.Errorf("openapi: Options.Paths[%q] must encode to a JSON object: %w", path, err)
		}
		paths = append(paths, member{path, item})
	}
	return append(paths, endpoints...), nil
}

// endpoints returns the paths of the endpoints that the host mounted.
func (f *facts) endpoints() object {
	paths := f.tokenPaths()
	if f.mounted.Revocation != "" {
		paths = append(paths, member{f.mounted.Revocation, f.revocation()})
	}
	if f.mounted.Introspection != "" {
		paths = append(paths, member{f.mounted.Introspection, f.introspection()})
	}
	if path := f.mounted.MetadataPath(); path != "" {
		paths = append(paths, member{path, f.metadata()})
	}
	for i, m := range paths {
		if parameters := parameters(m.name); parameters != nil {
			paths[i].value = append(object{{"parameters", parameters}}, m.value.(object)...)
		}
	}
	return paths
}

// tags declares the tags of all operations, in the order of their paths. It also
// declares the host's tags, since Swagger UI shows tags without a declaration last.
func (f *facts) tags(paths object) []object {
	token := []object{{{"name", tagToken}, {"description", "Get and revoke access tokens."}}}
	if len(f.mounted.Token) > 1 {
		token = append(token, object{{"name", tagOtherUse}, {"description", "The same endpoint at other paths, for clients that use them."}, {"x-internal", true}})
	}
	var tags []object
	seen := map[string]bool{tagToken: true, tagOtherUse: true}
	for _, path := range paths {
		for _, m := range path.value.(object) {
			var operation struct{ Tags []string }
			if raw, ok := m.value.(json.RawMessage); !ok || json.Unmarshal(raw, &operation) != nil {
				continue // an operation of the Token API, or a member that is not an operation
			}
			for _, name := range operation.Tags {
				if !seen[name] {
					seen[name] = true
					tags = append(tags, object{{"name", name}})
				}
			}
		}
	}
	return append(tags, token...)
}

func (f *facts) introduction() string {
	return "Sign in with a user name and a password at `" + f.mounted.Token[0] + "`. Send the access token from the response with each request:\n\n" +
		"    " + f.tokenExample() + "\n\n" +
		"A user has one valid token" + f.place("each") + ": each sign-in issues a new token and invalidates the previous one. " +
		"A token is valid for " + lifetimeInWords(f.Lifetime) + "." + f.livesOn() + f.isRefreshed() + " It is an opaque string without readable data."
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
