package password

import "golang.org/x/text/unicode/norm"

// forms returns the password as typed and, if it has one, the other form in which the
// same characters may have been typed when it was set: one keyboard sends é as one
// code point (NFC), another as e and an accent (NFD). RFC 8265 §4.2 compares passwords
// in NFC, as Hash makes them. Hashes made elsewhere may be of either form.
//
// A password has two forms at most, so that it costs two hashes at most. One that is
// neither NFC nor NFD has that as typed and NFC.
func forms(password string) []string {
	for _, form := range []norm.Form{norm.NFC, norm.NFD} {
		if other := form.String(password); other != password {
			return []string{password, other}
		}
	}
	return []string{password}
}
