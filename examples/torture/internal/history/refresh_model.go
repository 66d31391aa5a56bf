package history

import (
	"slices"
	"time"
)

const (
	// remembered is how many rotations a slot remembers. The refresh of an earlier one is
	// refused within the grace, too.
	remembered = 4
	// known is how many rotations the model knows. A slot remembers fewer of them, but a
	// token of the others must not end the sign-in within the grace either.
	known = 10
)

// A rotation is a refresh that replaced a pair. From and to are the times between which
// it did so, by the clock of the replicas, in nanoseconds.
type rotation struct {
	pair     int // the pair before
	replica  int
	from, to int64
}

func (o *operation) rotation() rotation { return rotation{o.presented, o.replica, o.from, o.to} }

// rotated returns the register after the refresh replaced the pair.
func (r register) rotated(o *operation) register {
	copy(r.used[1:], r.used[:known-1])
	r.used[0] = o.rotation()
	r.token = o.replaces
	return r
}

// refreshed returns the possible registers after a refresh.
func (r register) refreshed(o *operation) []register {
	emptied := register{disabled: r.disabled}
	switch {
	case r.signIn == 0 || r.signIn != o.signIn: // the sign-in is over
		if o.outcome == done {
			return nil
		}
		return []register{r}
	case o.first:
		if r.token == o.presented {
			return []register{r, r.rotated(o)}
		}
		return []register{r}
	case o.late && r.used[0] == o.rotation(): // it issued a pair, which it then ended
		return []register{r, emptied}
	case o.late && slices.Contains(r.used[:], o.rotation()): // its pair was replaced meanwhile
		return []register{r}
	case r.token != o.presented:
		return r.repeated(o)
	case o.outcome == unknown:
		return []register{r, r.rotated(o)}
	case o.outcome == done && !r.disabled && o.token == o.replaces:
		return []register{r.rotated(o)}
	case o.outcome == refused && o.changed:
		return []register{r}
	}
	return nil
}

// repeated returns the possible registers after a refresh with a refresh token that was
// used before.
func (r register) repeated(o *operation) []register {
	emptied := register{disabled: r.disabled}
	nth := 0
	for nth < known-1 && r.used[nth].pair != o.presented {
		nth++
	}
	if r.used[nth].pair == 0 {
		return nil // the pair was not issued yet
	}
	within, over := o.age(nth, &r.used[nth])
	isRemembered := nth < remembered
	if r.used[nth].pair != o.presented {
		within = false // it is older than the last one that is known
	}
	if !isRemembered {
		// The slot knows the time of a rotation that it forgot only roughly. So the reuse
		// is certain to be noticed only when the last one that it remembers is too old.
		_, over = o.age(remembered-1, &r.used[remembered-1])
	}
	sameKey := true
	for _, used := range r.used[:nth+1] {
		sameKey = sameKey && (!o.refresh.ownKeys || used.replica == o.replica)
	}
	switch {
	case o.outcome == done:
		if isRemembered && !over && sameKey && !r.disabled && o.token == r.token {
			return []register{r}
		}
		return nil
	case o.outcome == refused && within:
		if isRemembered && sameKey && !o.spent && !r.disabled {
			return nil // a client was signed out by a lost answer, or by a race
		}
		return []register{r}
	case within:
		return []register{r}
	case over && o.outcome == refused:
		return []register{emptied}
	}
	return []register{r, emptied}
}

// age reports whether the rotation is certain to be within the grace when the refresh
// is judged, and whether it is certain to be older.
func (o *operation) age(nth int, r *rotation) (within, over bool) {
	youngest, eldest := time.Duration(o.from-r.to), time.Duration(o.to-r.from)
	longest := o.refresh.grace + o.refresh.uncertain()
	if nth == 0 && r.replica == o.replica && r.pair == o.presented {
		longest = o.refresh.grace // one clock, and the latest rotation is never forgotten
	}
	return eldest+time.Millisecond <= o.refresh.grace, youngest > longest
}
