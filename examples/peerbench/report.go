package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// A table shows results from one section of the report.
type table struct {
	title string
	about string // explains the figures, in a sentence or two
	head  []string
	rows  [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// text writes the table for a terminal.
func (t *table) text(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n%s\n\n", t.title, t.about)
	columns := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, row := range append([][]string{t.head}, t.rows...) {
		fmt.Fprintf(columns, "  %s\n", strings.Join(row, "\t"))
	}
	columns.Flush()
}

// markdown writes the table for a README.
func (t *table) markdown(w io.Writer) {
	fmt.Fprintf(w, "\n### %s\n\n%s\n\n| %s |\n", t.title, t.about, strings.Join(t.head, " | "))
	fmt.Fprintf(w, "|---|%s\n", strings.Repeat("--:|", len(t.head)-1))
	for _, row := range t.rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
}

// A report collects the results of all sections. It prints each table as soon as
// the table is added.
type report struct {
	out    io.Writer
	tables []*table
	ratios []string

	costs  []figure // results of the section validation, for a plot
	growth []series
}

func (r *report) table(t *table) {
	r.tables = append(r.tables, t)
	t.text(r.out)
}

// skip prints that a measurement is missing or wrong, and why. Without this line, a
// reader could overlook the gap.
func (r *report) skip(what string, why any) {
	fmt.Fprintf(r.out, "\n*** SKIPPED: %s: %v ***\n", what, why)
}

// ratio adds a line with a named ratio, for other programs to read.
func (r *report) ratio(name string, value float64) {
	r.ratios = append(r.ratios, fmt.Sprintf("RATIO %s %s", name, strconv.FormatFloat(value, 'f', decimals(value), 64)))
}

// decimals returns the number of decimal places to print for a value.
func decimals(value float64) int {
	switch {
	case value < 10:
		return 3
	case value < 100:
		return 2
	default:
		return 0
	}
}

func (r *report) writeRatios() {
	fmt.Fprintln(r.out)
	for _, line := range r.ratios {
		fmt.Fprintln(r.out, line)
	}
}

// markdown returns the tables as Markdown, with the command that produced them.
func (r *report) markdown(command, environment string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Made by `%s` (%s).\n", command, environment)
	for _, t := range r.tables {
		t.markdown(&b)
	}
	fmt.Fprintf(&b, "\n### Ratios\n\n```\n%s\n```\n", strings.Join(r.ratios, "\n"))
	return b.Bytes()
}

const resultsMark = "<!-- results -->"

// writeReport replaces everything after the line resultsMark in the file, or the
// whole file if it has no such line.
func writeReport(file string, results []byte) error {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if before, _, ok := bytes.Cut(old, []byte(resultsMark+"\n")); ok {
		results = slices.Concat(before, []byte(resultsMark+"\n\n"), results)
	}
	return os.WriteFile(file, results, 0o644)
}

// The functions below format table cells.

func nanoseconds(f figure) []string {
	return []string{decimal(f.median(), 0), spreadOf(f, 1, 0)}
}

// spreadOf formats the smallest and the largest result of the rounds.
func spreadOf(f figure, unit float64, decimals int) string {
	low, high := f.rounds[0], f.rounds[0]
	for _, v := range f.rounds {
		low, high = min(low, v), max(high, v)
	}
	return decimal(low/unit, decimals) + "–" + decimal(high/unit, decimals)
}

// rates formats the median and the spread of operations per second.
func rates(f figure) []string {
	inverse := figure{name: f.name}
	for _, v := range f.rounds {
		inverse.rounds = append(inverse.rounds, 1e9/v)
	}
	return []string{decimal(f.perSecond(), 0), spreadOf(inverse, 1, 0)}
}

// decimal formats a value with commas between groups of three digits.
func decimal(value float64, decimals int) string {
	text := strconv.FormatFloat(value, 'f', decimals, 64)
	whole, fraction, _ := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		return whole + "." + fraction
	}
	return whole
}

func times(value float64) string { return decimal(value, 2) + "×" }
