package fault

import (
	"context"
	"errors"
	"fmt"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// losses are the changes that a fault might lose, and those of them that it did.
type losses struct{ confirmed, lost int }

// settle finds out what became of the changes that may have been lost, and
// returns what is wrong: each has to be there or not, as a whole, and all
// replicas have to say the same.
func (l *losses) settle(f *fleet) (wrong []string) {
	for _, c := range f.witness.takePerhaps() {
		if len(c.before) == 0 && c.now == nil {
			continue
		}
		l.confirmed++
		switch lost, err := f.lost(c); {
		case err != nil:
			wrong = append(wrong, err.Error())
		case lost:
			l.lost++
		}
	}
	return wrong
}

func (f *fleet) lost(c *perhaps) (bool, error) {
	var signs [2]int // that it was kept, and that it was lost
	look := func(auth *tokenauth.Service, t *heldToken, ifGood, ifNot int) error {
		switch _, err := auth.Validate(context.Background(), t.text); {
		case err == nil:
			signs[ifGood]++
		case errors.Is(err, tokenauth.ErrInvalidToken):
			signs[ifNot]++
		default:
			return fmt.Errorf("a change that may have been lost cannot be looked at: %w", err)
		}
		return nil
	}
	for _, auth := range f.replicas {
		for _, t := range c.before {
			if err := look(auth, t, 1, 0); err != nil {
				return false, err
			}
		}
		if c.now != nil {
			if err := look(auth, c.now, 0, 1); err != nil {
				return false, err
			}
		}
	}
	if signs[0] > 0 && signs[1] > 0 {
		return false, fmt.Errorf("of a change that may have been lost %d signs say that it was, and %d that it was not", signs[1], signs[0])
	}
	return signs[1] > 0, nil
}

// tellLosses says how what may be lost was judged, and what became of it.
func (w *ward) tellLosses() {
	if len(w.losses) == 0 {
		return
	}
	w.Note("A server that takes over may lack what the one before confirmed last, which is no broken promise. What had been confirmed before the other was seen to have all of it is judged as ever. What was confirmed later, until no replica took the old server for the one to ask, counts as in doubt: it may have been lost, but as a whole, and all replicas have to say the same. Faults without such a time are judged as ever.")
	for _, f := range w.Faults {
		if l := w.losses[f.Name]; l != nil {
			w.Note("“%s”: of %d changes that were confirmed in that time %d were lost.", f.Name, l.confirmed, l.lost)
		}
	}
}
