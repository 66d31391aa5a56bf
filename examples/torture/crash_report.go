package main

import "fmt"

// section is the part of the report about crashes.
func (c *crashTrial) section(kinds []*crashKind) *section {
	s := &section{
		title: "Crashes",
		about: fmt.Sprintf("SIGKILL at any instant of up to %v of load by %d users, start, and a look at all that is kept and all that was ever issued.", activity, crashUsers),
		head:  []string{"killed"},
	}
	row := func(name string, cell func(k *crashKind) any) {
		cells := []any{name}
		for _, k := range kinds {
			cells = append(cells, cell(k))
		}
		s.row(cells...)
	}
	for _, k := range kinds {
		s.head = append(s.head, k.name)
	}
	row("crashes", func(k *crashKind) any { return k.crashes })
	row("more of them, while it started", func(k *crashKind) any { return k.starting })
	row("requests", func(k *crashKind) any { return k.counts.requests.Load() })
	row("cut off, or answered 503", func(k *crashKind) any { return k.counts.cut.Load() })
	for _, of := range []kind{signIn, revoke, revokeUser} {
		row(fmt.Sprintf("in doubt: %v, done / not done", of), func(k *crashKind) any {
			return fmt.Sprintf("%d / %d", k.counts.done[of].Load(), k.counts.undone[of].Load())
		})
	}
	row("rows read", func(k *crashKind) any { return k.counts.rows.Load() })
	row("tokens tried", func(k *crashKind) any { return k.counts.tried.Load() })
	spreadRow := func(name string, of func(k *crashKind) *spread) {
		row(name+", ms, p50 / worst", func(k *crashKind) any {
			return milliseconds(of(k).quantile(0.5)) + " / " + milliseconds(of(k).quantile(1))
		})
	}
	spreadRow("restart", func(k *crashKind) *spread { return &k.restarts })
	spreadRow("until right answers, behind it", func(k *crashKind) *spread { return &k.recover })
	s.note("On %s: %s. SIGKILL leaves the system's cache of files alone, so this is about processes that crash, not about power that fails: what a process has written is there even if it was not synced.", c.backend.name, c.durability)
	if c.backend.name == "sqlite" {
		s.note("With journal_mode wal, synchronous 1 (NORMAL) may lose the last commits when power fails, and never when the process does; 2 (FULL) loses none.")
	}
	if len(kinds) > 1 {
		s.note("While the database is down the users go on asking: most writes that were not done were asked for then.")
	}
	return s
}
