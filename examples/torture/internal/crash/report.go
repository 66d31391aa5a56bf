package crash

import (
	"fmt"

	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
)

// section is the part of the report about crashes.
func (c *runner) section(kinds []*target) *report.Section {
	s := &report.Section{
		Title: "Crashes",
		About: fmt.Sprintf("SIGKILL at any instant of up to %v of load by %d users, start, and a look at all that is kept and all that was ever issued.", activity, userCount),
		Head:  []string{"killed"},
	}
	row := func(name string, cell func(k *target) any) {
		cells := []any{name}
		for _, k := range kinds {
			cells = append(cells, cell(k))
		}
		s.Row(cells...)
	}
	for _, k := range kinds {
		s.Head = append(s.Head, k.name)
	}
	row("crashes", func(k *target) any { return k.crashes })
	row("more of them, while it started", func(k *target) any { return k.starting })
	row("requests", func(k *target) any { return k.counts.requests.Load() })
	row("cut off, or answered 503", func(k *target) any { return k.counts.cut.Load() })
	for _, of := range []op.Kind{op.SignIn, op.Revoke, op.RevokeUser} {
		row(fmt.Sprintf("in doubt: %v, done / not done", of), func(k *target) any {
			return fmt.Sprintf("%d / %d", k.counts.done[of].Load(), k.counts.undone[of].Load())
		})
	}
	row("rows read", func(k *target) any { return k.counts.rows.Load() })
	row("tokens tried", func(k *target) any { return k.counts.tried.Load() })
	spreadRow := func(name string, of func(k *target) *report.Spread) {
		row(name+", ms, p50 / worst", func(k *target) any {
			return report.Milliseconds(of(k).Quantile(0.5)) + " / " + report.Milliseconds(of(k).Quantile(1))
		})
	}
	spreadRow("restart", func(k *target) *report.Spread { return &k.restarts })
	spreadRow("until right answers, behind it", func(k *target) *report.Spread { return &k.recover })
	s.Note("On %s: %s. SIGKILL leaves the system's cache of files alone, so this is about processes that crash, not about power that fails: what a process has written is there even if it was not synced.", c.Backend.Name, c.durability)
	if c.Backend.Name == "sqlite" {
		s.Note("With journal_mode wal, synchronous 1 (NORMAL) may lose the last commits when power fails, and never when the process does; 2 (FULL) loses none.")
	}
	if len(kinds) > 1 {
		s.Note("While the database is down the users go on asking: most writes that were not done were asked for then.")
	}
	return s
}
