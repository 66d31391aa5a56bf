// Package report counts what the trials tried, keeps the violations that they found,
// and writes a report.
package report

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// A Report holds the results of all trials. Its methods are safe for concurrent use.
type Report struct {
	Folder string    // where report.md and its plots are written
	Out    io.Writer // where Add prints the sections

	mu       sync.Mutex
	Sections []*Section
}

// A Section holds the results of one trial. See [Report.Add].
type Section struct {
	Title, About string
	Head         []string
	Rows         [][]string
	notes        []string // paragraphs below the table
	Plots        []string // names of files in the folder
}

// Row adds a row to the table.
func (s *Section) Row(cells ...any) {
	var texts []string
	for _, c := range cells {
		texts = append(texts, fmt.Sprint(c))
	}
	s.Rows = append(s.Rows, texts)
}

// Note adds a paragraph below the table.
func (s *Section) Note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// Add adds a section and prints it to r.Out.
func (r *Report) Add(s *Section) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Sections = append(r.Sections, s)
	fmt.Fprintf(r.Out, "\n%s\n%s\n", s.Title, s.About)
	if len(s.Rows) > 0 {
		columns := tabwriter.NewWriter(r.Out, 0, 0, 3, ' ', 0)
		for _, row := range append([][]string{s.Head}, s.Rows...) {
			fmt.Fprintf(columns, "  %s\n", strings.Join(row, "\t"))
		}
		columns.Flush()
	}
	for _, note := range s.notes {
		fmt.Fprintln(r.Out, note)
	}
}

// Path returns the path of a file in the report's folder.
func (r *Report) Path(name string) string { return filepath.Join(r.Folder, name) }

// Write writes report.md. Conditions is a line about the run, as from [Conditions].
func (r *Report) Write(conditions string, t *Tally) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "# Report\n\n%s\n\n%s\n", conditions, t.Summary())
	for _, s := range r.Sections {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", s.Title, s.About)
		if len(s.Rows) > 0 {
			fmt.Fprintf(&b, "\n| %s |\n|---|%s\n", strings.Join(s.Head, " | "), strings.Repeat("--:|", len(s.Head)-1))
			for _, row := range s.Rows {
				fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
			}
		}
		for _, note := range s.notes {
			fmt.Fprintf(&b, "\n%s\n", note)
		}
		for _, plot := range s.Plots {
			fmt.Fprintf(&b, "\n![%s](%s)\n", strings.TrimSuffix(plot, filepath.Ext(plot)), plot)
		}
	}
	if broken := t.Broken(); len(broken) > 0 {
		b.WriteString("\n## Violations\n\n")
		for _, v := range broken {
			fmt.Fprintf(&b, "- %s\n", v)
		}
	}
	return os.WriteFile(r.Path("report.md"), []byte(b.String()), 0o644)
}

// Conditions returns a line with the date, the storage, the seed and the time of the
// run, and the machine.
func Conditions(store string, seed uint64, took time.Duration) string {
	return fmt.Sprintf("%s, storage %s, seed %d, %v. %s, %s/%s, %d processors.", time.Now().UTC().Format(time.DateOnly),
		store, seed, took.Round(time.Second), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
}

// A Spread collects durations, of which it keeps the latest 100,000. It is safe for
// concurrent use.
type Spread struct {
	mu    sync.Mutex
	n     int64
	kept  []time.Duration
	worst time.Duration
}

const spreadSize = 100_000

// Add adds a duration.
func (s *Spread) Add(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	s.worst = max(s.worst, d)
	if len(s.kept) < spreadSize {
		s.kept = append(s.kept, d)
	} else {
		s.kept[s.n%spreadSize] = d // the latest ones
	}
}

// Quantile returns the quantile q, 0 to 1, of the kept durations. It is zero if there
// are none.
func (s *Spread) Quantile(q float64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.kept))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// Milliseconds formats a duration as a number of milliseconds, with three decimals.
func Milliseconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()*1000) }
