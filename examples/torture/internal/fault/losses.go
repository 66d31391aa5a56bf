package fault

import (
	"context"
	"errors"
	"fmt"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// losses counts the confirmed changes that a fault might lose, and those that it lost.
type losses struct{ confirmed, lost int }

// settle finds out which changes were lost, and returns the violations. Each change
// must be there or lost as a whole, and all replicas must agree.
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

// lost reports whether the change was lost. It returns an error if it was lost in
// part, or if replicas disagree.
func (f *fleet) lost(c *perhaps) (bool, error) {
	var signs [2]int // number of answers that show it kept, and lost
	look := func(auth *tokenauth.Service, t *heldToken, ifValid, ifNot int) error {
		switch _, err := auth.Validate(context.Background(), t.text); {
		case err == nil:
			signs[ifValid]++
		case errors.Is(err, tokenauth.ErrInvalidToken):
			signs[ifNot]++
		default:
			return fmt.Errorf("whether a change was lost is unknown, because a validation failed: %w", err)
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
		return false, fmt.Errorf("a change was lost in part: %d answers show that it was lost, and %d that it was not", signs[1], signs[0])
	}
	return signs[1] > 0, nil
}

// tellLosses adds to the report how lost changes were judged, and how many there were.
func (w *ward) tellLosses() {
	if len(w.losses) == 0 {
		return
	}
	w.Note("A server that takes over may lack the latest changes that the old server confirmed. Losing these is not a violation. The time in which changes may be lost begins when the new server was seen to have all earlier ones. It ends when no replica uses the old server any more. A change confirmed in that time may be lost, but only as a whole, and all replicas must agree. All other changes must not be lost. Some faults have no such time.")
	for _, f := range w.Faults {
		if l := w.losses[f.Name]; l != nil {
			w.Note("“%s”: of %d changes confirmed in that time, %d were lost.", f.Name, l.confirmed, l.lost)
		}
	}
}
