// Package stores opens the storages that the examples accept in their flag -store.
// Importing it makes a program take longer to compile.
package stores

import (
	"fmt"
	"strings"
)

// needsURL returns an error unless the value of -store is a URL of the database.
func needsURL(storeURL string) error {
	scheme, rest, _ := strings.Cut(storeURL, ":")
	if !strings.HasPrefix(rest, "//") {
		return fmt.Errorf("-store %[1]s needs a URL, such as %[1]s://user:password@localhost/database", scheme)
	}
	return nil
}

// invalidURL is the error for a URL that cannot be parsed. The parser's error would
// contain the password.
func invalidURL(scheme string) error {
	return fmt.Errorf("-store is not a valid %s:// URL; it is not printed here because it may contain a password", scheme)
}
