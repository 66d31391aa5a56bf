package openapi

// reference is a Reference Object.
func reference(kind, name string) object {
	return object{{"$ref", "#/components/" + kind + "/" + name}}
}

// An answer is a response of the API: what every one has, what this one adds,
// and examples of its body.
type answer struct {
	description string
	headers     object // beside those that all have
	schema      object
	examples    object
}

// always are the headers of each answer.
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

// wwwAuthenticate describes a challenge that has one of the values.
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

// constant describes a header that always has the value.
func constant(description, value string) object {
	return object{
		{"description", description}, {"required", true},
		{"schema", object{{"type", "string"}, {"const", value}}}, {"example", value},
	}
}

func allow(methods string) object { return constant("The methods that there are.", methods) }

// headers are the components that answers refer to. The page tells of those of
// each answer once, and not with each.
func headers() object {
	everywhere := member{"x-everywhere", true}
	return object{
		{"Cache-Control", append(constant("No cache keeps the answer (RFC 6749 §5.1).", "no-store"), everywhere)},
		{"Pragma", append(constant("The same, for old caches.", "no-cache"), everywhere)},
		{"X-Content-Type-Options", append(constant("Browsers take the body for what it says it is.", "nosniff"), everywhere)},
		{"Retry-After", object{
			{"description", "In how many seconds to try again."}, {"required", true},
			{"schema", object{{"type", "integer"}, {"minimum", 1}, {"maximum", 3600}}}, {"example", 2},
		}},
	}
}

var retryAfter = reference("headers", "Retry-After")
