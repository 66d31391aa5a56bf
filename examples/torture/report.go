package main

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

// A report is what all trials found out. It is safe for concurrent use.
type report struct {
	folder string
	out    io.Writer

	mu       sync.Mutex
	sections []*section
}

// A section is what a trial found out.
type section struct {
	title, about string
	head         []string
	rows         [][]string
	notes        []string // paragraphs behind the table
	plots        []string // files
}

func (s *section) row(cells ...any) {
	var texts []string
	for _, c := range cells {
		texts = append(texts, fmt.Sprint(c))
	}
	s.rows = append(s.rows, texts)
}

func (s *section) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// add adds a section, and prints it.
func (r *report) add(s *section) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sections = append(r.sections, s)
	fmt.Fprintf(r.out, "\n%s\n%s\n", s.title, s.about)
	if len(s.rows) > 0 {
		columns := tabwriter.NewWriter(r.out, 0, 0, 3, ' ', 0)
		for _, row := range append([][]string{s.head}, s.rows...) {
			fmt.Fprintf(columns, "  %s\n", strings.Join(row, "\t"))
		}
		columns.Flush()
	}
	for _, note := range s.notes {
		fmt.Fprintln(r.out, note)
	}
}

// path returns the path of a file beside the report.
func (r *report) path(name string) string { return filepath.Join(r.folder, name) }

// write writes report.md.
func (r *report) write(conditions string, t *tally) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "# Report\n\n%s\n\n%s\n", conditions, t.summary())
	for _, s := range r.sections {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", s.title, s.about)
		if len(s.rows) > 0 {
			fmt.Fprintf(&b, "\n| %s |\n|---|%s\n", strings.Join(s.head, " | "), strings.Repeat("--:|", len(s.head)-1))
			for _, row := range s.rows {
				fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
			}
		}
		for _, note := range s.notes {
			fmt.Fprintf(&b, "\n%s\n", note)
		}
		for _, plot := range s.plots {
			fmt.Fprintf(&b, "\n![%s](%s)\n", strings.TrimSuffix(plot, filepath.Ext(plot)), plot)
		}
	}
	if broken := t.broken(); len(broken) > 0 {
		b.WriteString("\n## Violations\n\n")
		for _, v := range broken {
			fmt.Fprintf(&b, "- %s\n", v)
		}
	}
	return os.WriteFile(r.path("report.md"), []byte(b.String()), 0o644)
}

// conditions says under which a report came about.
func conditions(store string, seed uint64, took time.Duration) string {
	return fmt.Sprintf("%s, storage %s, seed %d, %v. %s, %s/%s, %d processors.", time.Now().UTC().Format(time.DateOnly),
		store, seed, took.Round(time.Second), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
}

// A spread collects durations, of which a few are kept.
type spread struct {
	mu    sync.Mutex
	n     int64
	kept  []time.Duration
	worst time.Duration
}

const spreadSize = 100_000

func (s *spread) add(d time.Duration) {
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

// quantile returns that of what is kept.
func (s *spread) quantile(q float64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.kept))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()*1000) }
