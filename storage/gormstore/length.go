package gormstore

import "fmt"

// maxText is the maximum size of roles or of attributes, in bytes.
const maxText = 65535

// fits returns [ErrInvalid], wrapped, if text exceeds the limit and the engine might
// cut it off without an error. MariaDB and MySQL cut text off unless sql_mode is
// strict, and always in INSERT IGNORE. The parameter most is the limit in bytes; the
// parameter what is the name for the text in the error.
func (d *dialect) fits(what, text string, most int) error {
	if !d.truncates || len(text) <= most {
		return nil
	}
	return fmt.Errorf("%w: %s has %d bytes, but its column holds at most %d", ErrInvalid, what, len(text), most)
}
