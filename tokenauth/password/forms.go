package password

import "golang.org/x/text/unicode/norm"

// forms returns the password as typed and, if there is one, its other Unicode
// form: NFC if it is not NFC, otherwise NFD. One keyboard sends é as one code
// point (NFC), another as e and an accent (NFD). The user may have set the
// password with the other kind.
//
// RFC 8265 §4.2 compares passwords in NFC, and [Hash] hashes them so. Hashes
// made elsewhere may be of either form. A password has at most two forms, so
// verifying it takes at most two hashes.
func forms(password string) []string {
	for _, form := range []norm.Form{norm.NFC, norm.NFD} {
		if other := form.String(password); other != password {
			return []string{password, other}
		}
	}
	return []string{password}
}
