package main

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A tally is what has been tried, and what was found.
type tally struct {
	histories, operations, undecided atomic.Int64

	mu         sync.Mutex
	violations []string
}

// summary is the last line of a run.
func (t *tally) summary() string {
	return fmt.Sprintf("%d histories, %d operations, %d violations", t.histories.Load(), t.operations.Load(), len(t.broken()))
}

// violate records that a promise was broken.
func (t *tally) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintln(os.Stderr, "VIOLATION:", text)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.violations = append(t.violations, text)
}

func (t *tally) broken() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.violations...)
}

// An env is what a trial has to work with.
type env struct {
	*tally
	backend *backend
	report  *report
	plant   *plant // nil for none
	plantState
	seed   uint64
	until  time.Time // when to come to an end
	only   string    // of the faults, those whose names have it
	rate   float64   // requests a second of a soak
	enough int64     // histories after which to come to an end; 0 for none
}

// over reports whether the trial should come to its end.
func (e *env) over() bool {
	if e.enough > 0 && e.histories.Load() >= e.enough {
		return true
	}
	return !time.Now().Before(e.until) || e.plant != nil && len(e.broken()) > 0
}
