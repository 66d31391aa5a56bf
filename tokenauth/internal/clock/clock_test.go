package clock

import (
	"sync"
	"testing"
	"time"
)

func TestClockFollowsReadings(t *testing.T) {
	t.Parallel()
	wall := time.Date(2026, 3, 29, 1, 59, 59, 0, time.UTC)
	c := New()
	for _, step := range []struct {
		name                    string
		wall, monotonic, expect time.Duration // since the start
	}{
		{"the first reading", 0, 0, 0},
		{"the same reading again", 0, 0, 0},
		{"a nanosecond later", 1, 1, 1},
		{"an hour later", time.Hour, time.Hour, time.Hour},
		{"an older reading", time.Minute, time.Minute, time.Minute},
		{"set back an hour", time.Minute, time.Hour + time.Minute, time.Hour + time.Minute},
		{"still behind", 2 * time.Minute, time.Hour + 2*time.Minute, time.Hour + 2*time.Minute},
		{"adjusted by a millisecond", 2*time.Hour + time.Millisecond, 2 * time.Hour, 2 * time.Hour},
		{"set ahead a day", 26 * time.Hour, 2 * time.Hour, 26 * time.Hour},
		{"an hour after that", 27 * time.Hour, 3 * time.Hour, 27 * time.Hour},
		{"set back to the right time", 4 * time.Hour, 4 * time.Hour, 28 * time.Hour},
		{"set ahead a century", 876_000 * time.Hour, 4 * time.Hour, 876_000 * time.Hour},
	} {
		got := c.now(reading{wall.Add(step.wall).UnixNano(), int64(step.monotonic)})
		if want := wall.Add(step.expect).UnixNano(); got != want {
			t.Errorf("%s: the time is %v later than expected", step.name, time.Duration(got-want))
		}
	}
}

func TestClockNeverRunsBackwards(t *testing.T) {
	t.Parallel()
	var (
		c      = New()
		wg     sync.WaitGroup
		mu     sync.Mutex
		latest time.Time // the latest time that a goroutine got
	)
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				mu.Lock()
				seen := latest
				mu.Unlock()
				now := c.Now()
				if now.Before(seen) {
					t.Errorf("got %v after %v", now, seen)
					return
				}
				mu.Lock()
				if now.After(latest) {
					latest = now
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if behind := time.Since(latest); behind > time.Minute || behind < -time.Minute {
		t.Errorf("the clock is %v behind the system clock", behind)
	}
}

// Not parallel: AllocsPerRun counts what the whole process allocates.
func TestClockAllocatesNothing(t *testing.T) {
	c := New()
	c.Now()
	if n := testing.AllocsPerRun(1000, func() { c.Now() }); n != 0 {
		t.Errorf("Now made %v allocations, want 0", n)
	}
}
