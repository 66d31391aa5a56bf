package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// metadata returns the Path Item Object of the authorization server metadata
// (RFC 8414).
func (f *facts) metadata() object {
	nosniff := object{{"X-Content-Type-Options", reference("headers", "X-Content-Type-Options")}}
	plain := object{{"text/plain", object{{"schema", object{{"type", "string"}}}, {"example", "Method Not Allowed"}}}}
	return object{{"get", object{
		{"operationId", "metadata"}, {"tags", []string{tagToken}}, {"summary", "Get the metadata of the server"},
		{"description", "Returns the URLs of the endpoints and the features they support (RFC 8414).\n\n**Returns** the metadata.\n\n**Authorization:** none.\n\n**Body:** none."},
		{"x-codeSamples", f.samples("metadata", f.mounted.MetadataPath())},
		{"security", []object{}},
		{"responses", object{
			{"200", object{
				{"description", "The metadata."}, {"headers", nosniff},
				jsonContent(f.metadataSchema(), object{{"metadata", example("The metadata", f.metadataBody)}}),
			}},
			{"405", object{
				{"description", "The method is neither GET nor HEAD."},
				{"headers", append(nosniff, member{"Allow", allow("GET, HEAD")})}, {"content", plain},
			}},
		}},
	}}}
}

// prefix returns the path prefix that a proxy removes: the part of the token
// endpoint's public URL between the host name and the mounted path. It returns ""
// if no issuer is set.
func (f *facts) prefix() string {
	var endpoint string
	if raw, ok := f.metadataBody.get("token_endpoint").(json.RawMessage); !ok || json.Unmarshal(raw, &endpoint) != nil {
		return ""
	}
	u, err := url.Parse(strings.TrimSuffix(endpoint, f.mounted.Token[0]))
	if err != nil {
		return ""
	}
	return u.EscapedPath()
}

func (f *facts) metadataSchema() object {
	var required []string
	var properties object
	for _, m := range f.metadataBody {
		required = append(required, m.name)
		// The metadata does not change while the service runs.
		properties = append(properties, member{m.name, object{{"const", m.value}}})
	}
	return object{{"type", "object"}, {"required", required}, {"properties", properties}, {"additionalProperties", false}}
}

// answerOf sends GET to a handler and returns the JSON object of the response.
// [New] gets the metadata in this way, since only its handler has it.
func answerOf(h http.Handler) (o object, err error) {
	w := &written{header: make(http.Header)}
	h.ServeHTTP(w, &http.Request{Method: http.MethodGet})
	if err = json.Unmarshal(w.Bytes(), &o); err != nil {
		return nil, fmt.Errorf("openapi: decoding the metadata of the Token API: %w", err)
	}
	return o, nil
}

// written is an [http.ResponseWriter] that stores the body of the response.
type written struct {
	header http.Header
	bytes.Buffer
}

func (w *written) Header() http.Header { return w.header }
func (w *written) WriteHeader(int)     {}
