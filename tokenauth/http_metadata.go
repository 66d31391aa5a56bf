package tokenauth

import (
	"errors"
	"net/http"
)

// MetadataHandler returns a handler that describes the endpoints to clients
// (RFC 8414), by GET. It is for hosts that mount it themselves;
// Endpoints.Issuer has it mounted. The endpoints are those that were mounted,
// with full paths. It panics if a field of e is wrong, or without an issuer.
func (s *Service) MetadataHandler(e Endpoints) http.Handler {
	s.mustNotBeNil()
	e, err := e.withDefaults(&s.options)
	if err == nil && e.Issuer == "" {
		err = errors.New("tokenauth: metadata needs Endpoints.Issuer")
	}
	if err != nil {
		panic(err)
	}
	body := s.metadata(e)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		writeJSON(w, http.StatusOK, body)
	})
}

func (s *Service) metadata(e Endpoints) []byte {
	origin := originOf(e.Issuer)
	clientAuthentication := []string{"none"}
	if s.options.Clients != nil {
		clientAuthentication = []string{"client_secret_basic", "client_secret_post", "none"}
	}
	var body jsonObject
	body.text("issuer", e.Issuer)
	body.text("token_endpoint", origin+e.Token[0])
	body.texts("token_endpoint_auth_methods_supported", clientAuthentication)
	body.texts("grant_types_supported", []string{"password"})
	body.texts("response_types_supported", nil) // required, and there is no authorization endpoint
	if e.Revocation != "" {
		body.text("revocation_endpoint", origin+e.Revocation)
		body.texts("revocation_endpoint_auth_methods_supported", clientAuthentication)
	}
	if e.Introspection != "" {
		body.text("introspection_endpoint", origin+e.Introspection)
		body.texts("introspection_endpoint_auth_methods_supported", []string{"client_secret_basic", "client_secret_post"})
	}
	return body.done()
}
