package openapi

// reference returns a Reference Object that points to #/components/KIND/NAME.
func reference(kind, name string) object {
	return object{{"$ref", "#/components/" + kind + "/" + name}}
}

// An answer describes a response of the API. The response also has the headers
// in the list named always.
type answer struct {
	description string
	headers     object // in addition to those in the list named always
	schema      object
	examples    object
}

// always is the list of the headers that every response has.
var always = []string{"Cache-Control", "Pragma", "X-Content-Type-Options"}

func (a answer) response() object {
	headers := object{}
	for _, name := range always {
		headers = append(headers, member{name, reference("headers", name)})
	}
	response := object{{"description", a.description}, {"headers", append(headers, a.headers...)}}
	if a.schema != nil {
		response = append(response, jsonContent(a.schema, a.examples))
	}
	return response
}

func jsonContent(schema, examples object) member {
	return member{"content", object{{"application/json", object{{"schema", schema}, {"examples", examples}}}}}
}

func (a answer) with(name string, header object) answer {
	a.headers = append(a.headers, member{name, header})
	return a
}

// wwwAuthenticate describes a WWW-Authenticate header whose value is one of the
// given values.
func wwwAuthenticate(description string, values ...string) object {
	return object{{"WWW-Authenticate", object{
		{"description", description}, {"required", true},
		{"schema", object{{"type", "string"}, {"enum", values}}},
		{"example", values[len(values)-1]},
	}}}
}

func example(summary string, value object) object {
	return object{{"summary", summary}, {"value", value}}
}

// constant describes a header that always has the given value.
func constant(description, value string) object {
	return object{
		{"description", description}, {"required", true},
		{"schema", object{{"type", "string"}, {"const", value}}}, {"example", value},
	}
}

func allow(methods string) object { return constant("The allowed methods.", methods) }

// headers returns the Header Objects that the responses refer to. The page hides
// headers marked x-everywhere, which almost every response has. The description
// of the sign-in names them once.
func headers() object {
	everywhere := member{"x-everywhere", true}
	return object{
		{"Cache-Control", append(constant("Caches must not store the response (RFC 6749 §5.1).", "no-store"), everywhere)},
		{"Pragma", append(constant("The same for HTTP/1.0 caches.", "no-cache"), everywhere)},
		{"X-Content-Type-Options", append(constant("Browsers must not guess another media type.", "nosniff"), everywhere)},
		{"Retry-After", object{
			{"description", "The number of seconds to wait before the next try."}, {"required", true},
			{"schema", object{{"type", "integer"}, {"minimum", 1}, {"maximum", 3600}}}, {"example", 2},
		}},
	}
}

var retryAfter = reference("headers", "Retry-After")
