package report

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

// A Tally counts histories and operations, and keeps the violations. It is safe for
// concurrent use.
type Tally struct {
	Histories, Operations, Undecided atomic.Int64

	mu         sync.Mutex
	violations []string
}

// Summary returns the last line of a run. Its violations are those of [Tally.Broken].
func (t *Tally) Summary() string {
	return fmt.Sprintf("%d histories, %d operations, %d violations", t.Histories.Load(), t.Operations.Load(), len(t.Broken()))
}

// Violate records a violation and prints it to standard error.
func (t *Tally) Violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintln(os.Stderr, "VIOLATION:", text)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.violations = append(t.violations, text)
}

// Broken returns the violations.
func (t *Tally) Broken() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.violations...)
}
