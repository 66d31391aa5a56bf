package openapi

import (
	"embed"
	"slices"
	"strings"
)

// sampleFiles has the code samples, in a folder for each operation. In a
// sample, /PATH stands for the path of the endpoint. The sample reads the URL
// of the server from the environment variable HOST. Lines with client_id or
// client_secret are removed unless [tokenauth.Options.Clients] is set.
//
//go:embed samples
var sampleFiles embed.FS

// languages lists the languages of the samples, in the order in which the page
// shows them.
var languages = []struct{ name, file, label string }{
	{"shell", "curl.sh", "curl"},
	{"csharp", "csharp.cs", "C#"},
	{"javascript", "javascript.mjs", "JavaScript"},
	{"python", "python.py", "Python"},
	{"go", "go.go.txt", "Go"},
}

// samples returns the x-codeSamples of an operation at the path. It skips languages
// in which the operation has no sample.
func (f *facts) samples(operation, path string) []object {
	var s []object
	for _, language := range languages {
		source, err := sampleFiles.ReadFile("samples/" + operation + "/" + language.file)
		if err != nil {
			continue
		}
		code := strings.ReplaceAll(strings.TrimSpace(string(source)), "/PATH", path)
		if !f.clients() {
			lines := strings.Split(code, "\n")
			code = strings.Join(slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "client_") }), "\n")
		}
		s = append(s, object{
			{"lang", language.name}, {"label", language.label},
			{"source", code},
		})
	}
	return s
}
