package tokenauth

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
)

// KeyOptions configures API keys ([Options.Keys]). A key is a token that a
// signed-in user makes for a script or an integration. It needs no sign-in, and
// is valid until it expires, or until its user or an operator ends it: see [Keys].
// The zero value selects the defaults.
//
// A guard lets keys through only with [Requirement.Keys].
//
// Keys need an [Authenticator] that is a [Reloader], and a storage that is both a
// [Lister] and a [UseRecorder]. To rename keys, it must also be a [Renamer].
//
// Turn keys on once all replicas run a version that has them. A Service without the
// option treats a key as an unknown token.
type KeyOptions struct {
	// Every key begins with Prefix, so that secret scanners can find leaked keys.
	// It has 1 to 16 letters, digits, '-' and '_', and differs from
	// [Options.Prefix] and [RefreshOptions.Prefix]. Empty means "key_". If you
	// change Prefix, the Service rejects all keys that users made before.
	Prefix string

	// Max is the largest number of valid keys of a user. Zero means 50. The range
	// is 1 to 10,000.
	Max int

	// Imported are the prefixes of keys that another system made, and that
	// [Keys.Import] stored. The empty prefix "" stands for keys of any form. Nil means
	// that there are none.
	//
	// Such a key does not say whose it is, so its validation reads the storage once
	// more, unless the key is in the cache. No checksum protects the storage from
	// strings that only look like an imported key. Once the last of them has ended,
	// remove the option. Options.Fallback is not asked about tokens with one of the
	// prefixes, so "" cannot be combined with it.
	Imported []string
}

const maxKeys = 10_000 // the largest KeyOptions.Max

// withDefaults returns a copy of o with the defaults filled in. The error names the
// first invalid field. The argument prefix is [Options.Prefix], and r is
// [Options.Refresh].
func (o *KeyOptions) withDefaults(prefix string, r *RefreshOptions, fallback bool) (*KeyOptions, error) {
	if o == nil {
		return nil, nil
	}
	c := *o
	c.Imported = slices.Clone(c.Imported)
	setDefault(&c.Prefix, "key_")
	setDefault(&c.Max, 50)
	switch {
	case len(c.Prefix) > accesstoken.MaxPrefix || strings.ContainsFunc(c.Prefix, notBase64URL):
		return nil, fmt.Errorf("tokenauth: Options.Keys.Prefix is %q, must be 1 to %d letters, digits, '-' and '_'", c.Prefix, accesstoken.MaxPrefix)
	case c.Prefix == prefix:
		return nil, errors.New("tokenauth: Options.Keys.Prefix is that of access tokens, must be another one")
	case r != nil && c.Prefix == r.Prefix:
		return nil, errors.New("tokenauth: Options.Keys.Prefix is that of refresh tokens, must be another one")
	case accesstoken.MayBeBoth(c.Prefix, prefix):
		return nil, fmt.Errorf("tokenauth: Options.Keys.Prefix is %q and Options.Prefix %q, but a key could then be taken for an access token: choose a shorter one", c.Prefix, prefix)
	case fallback && slices.Contains(c.Imported, ""):
		return nil, errors.New("tokenauth: Options.Keys.Imported has the prefix \"\", so Options.Fallback would never be asked: name the prefixes of the imported keys")
	case slices.ContainsFunc(c.Imported, func(p string) bool { return len(p) > maxImported || !storable(p) }):
		return nil, fmt.Errorf("tokenauth: Options.Keys.Imported must have prefixes of at most %d bytes", maxImported)
	case r != nil && slices.ContainsFunc(c.Imported, func(p string) bool { return strings.HasPrefix(p, r.Prefix) }):
		return nil, fmt.Errorf("tokenauth: Options.Keys.Imported has a prefix that begins with that of refresh tokens, %q: choose another Options.Refresh.Prefix", r.Prefix)
	case c.Max < 1 || c.Max > maxKeys:
		return nil, fmt.Errorf("tokenauth: Options.Keys.Max is %d, must be from 1 to %d", c.Max, maxKeys)
	}
	return &c, nil
}
