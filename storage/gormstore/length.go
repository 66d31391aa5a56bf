package gormstore

import "fmt"

// maxText is the maximum size of roles or of attributes, in bytes.
const maxText = 65535

// fits returns [ErrInvalid], wrapped, for a text that the engine might cut off without
// an error. MariaDB and MySQL do so without a strict sql_mode, and in INSERT IGNORE.
func (d *dialect) fits(what, text string, most int) error {
	if !d.truncates || len(text) <= most {
		return nil
	}
	return fmt.Errorf("%w: %s has %d bytes, the column holds %d", ErrInvalid, what, len(text), most)
}
