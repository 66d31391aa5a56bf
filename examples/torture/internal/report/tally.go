package report

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

// A Tally is what has been tried, and what was found.
type Tally struct {
	Histories, Operations, Undecided atomic.Int64

	mu         sync.Mutex
	violations []string
}

// Summary is the last line of a run.
func (t *Tally) Summary() string {
	return fmt.Sprintf("%d histories, %d operations, %d violations", t.Histories.Load(), t.Operations.Load(), len(t.Broken()))
}

// Violate records that a promise was broken.
func (t *Tally) Violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintln(os.Stderr, "VIOLATION:", text)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.violations = append(t.violations, text)
}

func (t *Tally) Broken() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.violations...)
}
