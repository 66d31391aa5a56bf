package gormstore

import "fmt"

// maxText is how many bytes a column for roles or attributes holds.
const maxText = 65535

// fits returns ErrInvalid, wrapped, for a text that the engine would cut off without
// an error: MariaDB and MySQL without a strict sql_mode, and by INSERT IGNORE.
func (d *dialect) fits(what, text string, most int) error {
	if !d.truncates || len(text) <= most {
		return nil
	}
	return fmt.Errorf("%w: %s has %d bytes, the column holds %d", ErrInvalid, what, len(text), most)
}
