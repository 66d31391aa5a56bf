package gormstore

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/width"
)

var (
	errUserName  = fmt.Errorf("%w: a user name must have 1 to 256 bytes of letters, digits, marks and ASCII punctuation, without white space around it (RFC 8265 §3)", ErrInvalid)
	errUserSpace = fmt.Errorf("%w: the user name has a space, which needs Options.SpacesInNames", ErrInvalid)
)

// maxNameLength is the maximum length, in bytes, of a user name that the token
// endpoint accepts.
const maxNameLength = 256

// newUserName normalizes the name of a new user, or a new name of a user. It does not
// remove white space around the name: a name with such white space is invalid.
func (u *Users) newUserName(name string) (key string, err error) {
	key, err = normalizeUserName(name)
	if err == nil && !u.spaces && strings.Contains(key, " ") {
		return "", errUserSpace
	}
	return key, err
}

// typedUserName normalizes a name that a user typed or pasted. It first removes white
// space around the name, which is never part of a valid name. It accepts spaces
// within the name even if new names may not have them. So all users can sign in after
// the host has turned [Options.SpacesInNames] off.
func typedUserName(name string) (string, error) {
	return normalizeUserName(strings.TrimSpace(name))
}

// normalizeUserName is like [Users.NormalizeUserName], but returns an error for an
// invalid name, such as one with white space around it. It normalizes each part
// between spaces on its own, because the PRECIS profile forbids spaces.
func normalizeUserName(name string) (string, error) {
	if name == "" || len(name) > maxNameLength || name != strings.TrimSpace(name) {
		return "", errUserName
	}
	parts := strings.FieldsFunc(name, isSpace)
	for i := range parts {
		var err error
		if parts[i], err = normalizePart(parts[i]); err != nil {
			return "", err
		}
	}
	if name = strings.Join(parts, " "); len(name) > 2*maxNameLength {
		return "", errUserName
	}
	return name, nil
}

func normalizePart(part string) (string, error) {
	// RFC 8264 §7 requires the mapping to be repeated until the result no longer
	// changes, but at most three more times.
	for range 4 {
		mapped, err := precis.UsernameCaseMapped.String(part)
		if err != nil {
			return "", errUserName
		}
		if mapped == part {
			return part, nil
		}
		part = mapped
	}
	return "", errUserName
}

// isSpace reports whether r is a space, of whatever width. Other white space, such as
// a tab, is not valid in a name.
func isSpace(r rune) bool { return unicode.Is(unicode.Zs, r) }

// normalizeSearch applies the mappings of normalizeUserName to a part of a name. Such a
// part need not be a valid name: it may end with a space, for example.
func normalizeSearch(part string) string {
	var b strings.Builder
	var last rune
	for _, r := range part {
		if isSpace(r) {
			r = ' '
		}
		if r != ' ' || last != ' ' {
			b.WriteRune(r)
		}
		last = r
	}
	lower := cases.Lower(language.Und, cases.HandleFinalSigma(false))
	return norm.NFC.String(lower.String(width.Fold.String(b.String())))
}
