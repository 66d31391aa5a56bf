package tokenauth

import (
	"net/http"

	"github.com/bearerkit/bearerkit/tokenauth/internal/request"
)

// metadataHandler returns a handler that serves the endpoint metadata (RFC
// 8414) for GET and HEAD. The URL of each endpoint is base followed by the
// endpoint's path in e.
func (s *Service) metadataHandler(e Endpoints, base string) http.Handler {
	body := s.metadata(e, base)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = request.Complete(r)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		writeJSON(w, http.StatusOK, body)
	})
}

func (s *Service) metadata(e Endpoints, base string) []byte {
	clientAuthentication := []string{"none"}
	if s.options.Clients != nil {
		clientAuthentication = []string{"client_secret_basic", "client_secret_post", "none"}
	}
	var body jsonObject
	body.text("issuer", e.Issuer)
	body.text("token_endpoint", base+e.Token[0])
	body.texts("token_endpoint_auth_methods_supported", clientAuthentication)
	body.texts("grant_types_supported", s.grantTypes())
	body.texts("response_types_supported", nil) // required by RFC 8414; empty without an authorization endpoint
	if e.Revocation != "" {
		body.text("revocation_endpoint", base+e.Revocation)
		body.texts("revocation_endpoint_auth_methods_supported", clientAuthentication)
	}
	if e.Introspection != "" {
		body.text("introspection_endpoint", base+e.Introspection)
		body.texts("introspection_endpoint_auth_methods_supported", []string{"client_secret_basic", "client_secret_post"})
	}
	return body.done()
}
