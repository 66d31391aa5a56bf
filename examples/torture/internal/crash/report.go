package crash

import (
	"fmt"

	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
)

// section returns the section of the report about crashes.
func (c *runner) section(kinds []*target) *report.Section {
	s := &report.Section{
		Title: "Crashes",
		About: fmt.Sprintf("Each crash is a SIGKILL at a random instant within the first %v of load by %d users. Half of the users refresh. Then the process is started again. Clients that got no answer to a refresh repeat it. All stored rows and all tokens ever issued are checked.", activity, userCount),
		Head:  []string{"killed process"},
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
	row("further crashes during the start", func(k *target) any { return k.starting })
	row("requests", func(k *target) any { return k.counts.requests.Load() })
	row("interrupted or answered 503", func(k *target) any { return k.counts.cut.Load() })
	for _, of := range []op.Kind{op.SignIn, op.Refresh, op.Revoke, op.RevokeUser} {
		row(fmt.Sprintf("interrupted: %v, done / not done", of), func(k *target) any {
			return fmt.Sprintf("%d / %d", k.counts.done[of].Load(), k.counts.undone[of].Load())
		})
	}
	row("done and then repeated by a client that stayed signed in", func(k *target) any { return k.counts.repeated.Load() })
	row("rows read", func(k *target) any { return k.counts.rows.Load() })
	row("tokens validated", func(k *target) any { return k.counts.tried.Load() })
	row("users with more tokens than the bound allows, until their next sign-in", func(k *target) any { return k.exceeded })
	spreadRow := func(name string, of func(k *target) *report.Spread) {
		row(name+", ms, p50 / worst", func(k *target) any {
			return report.Milliseconds(of(k).Quantile(0.5)) + " / " + report.Milliseconds(of(k).Quantile(1))
		})
	}
	spreadRow("restart", func(k *target) *report.Spread { return &k.restarts })
	spreadRow("from the restart to right answers", func(k *target) *report.Spread { return &k.recover })
	s.Note("Settings of %s: %s. SIGKILL does not affect the file cache of the operating system: data that a process wrote survives even if it was not synced. So the trial covers crashes of processes, not power failures.", c.Backend.Name, c.durability)
	if c.Backend.Name == "sqlite" {
		s.Note("With journal_mode wal, synchronous 1 (NORMAL) can lose the last commits in a power failure, but not in a crash of the process. 2 (FULL) loses none.")
	}
	if len(kinds) > 1 {
		s.Note("While the database is down, the users continue to send requests. Most writes that were not done are from that time.")
	}
	return s
}
