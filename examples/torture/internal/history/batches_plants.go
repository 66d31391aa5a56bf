package history

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// BatchPlants lists the bugs that the trial "batches" must find. See [Batches].
var BatchPlants = []*plant.Plant{
	{
		Name: "joined-statement", Trials: []string{"batches"},
		About: "a look-up joins a statement for its slot that was already sent",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &joinedStatement{Storage: s, finder: s.(tokenauth.BatchFinder), calls: make(map[tokenauth.Slot]*lookup)}
		},
	},
	{
		Name: "shifted-answers", Trials: []string{"batches"},
		About: "each caller of a batch gets the answer of another",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &spoiled{s, s.(tokenauth.BatchFinder), shiftAnswers}
		},
	},
	{
		Name: "relabelled-answers", Trials: []string{"batches"},
		About: "each caller of a batch gets the answer of another, changed to name the caller's slot",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &spoiled{s, s.(tokenauth.BatchFinder), relabelAnswers}
		},
	},
	{
		Name: "one-row", Trials: []string{"batches"},
		About: "all rows of a batch are read into the same memory: each token has the user of the last row",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &spoiled{s, s.(tokenauth.BatchFinder), lastUser}
		},
	},
	{
		Name: "error-for-the-first", Trials: []string{"batches"},
		About: "if a statement fails, the first caller gets the error, and the others get empty slots",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &errorForFirst{s, s.(tokenauth.BatchFinder)}
		},
	},
}

type joinedStatement struct {
	tokenauth.Storage
	finder tokenauth.BatchFinder
	mu     sync.Mutex
	calls  map[tokenauth.Slot]*lookup // look-ups that were sent
}

// A lookup is a look-up of one slot. Done is closed when found is set.
type lookup struct {
	done  chan struct{}
	found tokenauth.Found
}

func (j *joinedStatement) FindBatch(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	lookups := make([]*lookup, len(slots))
	var sent []int
	var rest []tokenauth.Slot
	j.mu.Lock()
	for i, slot := range slots {
		if lookups[i] = j.calls[slot]; lookups[i] == nil {
			lookups[i] = &lookup{done: make(chan struct{})}
			j.calls[slot] = lookups[i]
			sent, rest = append(sent, i), append(rest, slot)
		}
	}
	j.mu.Unlock()
	if len(rest) > 0 {
		found, err := j.finder.FindBatch(ctx, rest)
		time.Sleep(plant.Moment) // the time until the answer arrives
		j.mu.Lock()
		for n, i := range sent {
			if err != nil {
				lookups[i].found.Err = err
			} else {
				lookups[i].found = found[n]
			}
			delete(j.calls, rest[n])
			close(lookups[i].done)
		}
		j.mu.Unlock()
	}
	found := make([]tokenauth.Found, len(slots))
	for i, l := range lookups {
		<-l.done
		found[i] = l.found
		if err := l.found.Err; err != nil && !errors.Is(err, tokenauth.ErrNotFound) {
			return nil, err
		}
	}
	return found, nil
}

// A spoiled is a [tokenauth.BatchFinder] that spoils its results.
type spoiled struct {
	tokenauth.Storage
	finder tokenauth.BatchFinder
	spoil  func(slots []tokenauth.Slot, found []tokenauth.Found)
}

func (p *spoiled) FindBatch(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	found, err := p.finder.FindBatch(ctx, slots)
	if err == nil {
		p.spoil(slots, found)
	}
	return found, err
}

func shiftAnswers(_ []tokenauth.Slot, found []tokenauth.Found) {
	last := found[len(found)-1]
	copy(found[1:], found)
	found[0] = last
}

func relabelAnswers(slots []tokenauth.Slot, found []tokenauth.Found) {
	shiftAnswers(slots, found)
	for i := range found {
		if found[i].Err == nil {
			found[i].Token.Slot = slots[i]
		}
	}
}

func lastUser(_ []tokenauth.Slot, found []tokenauth.Found) {
	var last tokenauth.Principal
	for _, f := range found {
		if f.Err == nil {
			last = f.Token.Principal
		}
	}
	for i := range found {
		found[i].Token.Principal = last
	}
}

type errorForFirst struct {
	tokenauth.Storage
	finder tokenauth.BatchFinder
}

func (e *errorForFirst) FindBatch(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	found, err := e.finder.FindBatch(ctx, slots)
	if err == nil {
		return found, nil
	}
	found = make([]tokenauth.Found, len(slots))
	found[0].Err = err
	for i := range found[1:] {
		found[1+i].Err = tokenauth.ErrNotFound
	}
	return found, nil
}
