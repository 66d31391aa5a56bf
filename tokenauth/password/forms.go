package password

import "golang.org/x/text/unicode/norm"

// forms returns the password as typed and, if it differs, its other Unicode
// form: NFC, or NFD if the password is in NFC. Some keyboards send é as one
// code point (NFC), others as e and an accent (NFD). The user may have set the
// password on a keyboard of the other kind.
//
// [Hash] hashes the NFC form, in which RFC 8265 §4.2 compares passwords. Hashes
// made elsewhere may be of either form. There are at most two forms, so
// verifying a password takes at most two hashes.
func forms(password string) []string {
	for _, form := range []norm.Form{norm.NFC, norm.NFD} {
		if other := form.String(password); other != password {
			return []string{password, other}
		}
	}
	return []string{password}
}
