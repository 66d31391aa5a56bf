// Peerbench compares how long this project and other Go projects take to
// authenticate a request.
//
//	go run . [-short] [-only SECTIONS] [-report FILE] [-plots DIR]
//
// It is a separate module, so that programs that use the library do not get the
// dependencies of the other projects.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// sections are the measurements, in the order of the report.
var sections = []struct {
	name string
	run  func(testing.TB, plan, *report)
}{
	{"validation", validation},
	{"http", overHTTP},
	{"stores", storesOverHTTP},
	{"strict", strictOnDatabases},
	{"postgres", onPostgres},
	{"table", tableGrowth},
	{"redis", onRedis},
	{"revocation", revocationLatency},
	{"growth", growth},
	{"keys", apiKeys},
	{"memory", memoryAndCollections},
	{"structures", chooseStructure},
}

func main() {
	gin.SetMode(gin.ReleaseMode)
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil))) // contestant.check turns the logger off while check runs
	if len(os.Args) > 1 && os.Args[1] == childCommand {
		child(os.Args[2:])
		return
	}
	short := flag.Bool("short", false, "measure for less than three minutes")
	only := flag.String("only", "", "`sections` to measure, separated by commas: "+strings.Join(sectionNames(), ", ")+" (default all)")
	reportFile := flag.String("report", "", "write the tables as Markdown to `file`, after its line "+resultsMark+" if it has one")
	plots := flag.String("plots", "", "write plots as SVG into `folder`")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *short, *only, *reportFile, *plots); err != nil {
		fatal(err)
	}
}

func fatal(v ...any) {
	fmt.Fprintln(os.Stderr, append([]any{"peerbench:"}, v...)...)
	os.Exit(1)
}

func run(ctx context.Context, short bool, only, reportFile, plots string) error {
	p := plan{rounds: 15, cycles: 16}
	if short {
		p = plan{rounds: 7, cycles: 3, short: true}
	}
	var wanted []string
	if only != "" {
		wanted = strings.Split(only, ",")
		for _, name := range wanted {
			if !slices.Contains(sectionNames(), name) {
				return fmt.Errorf("-only has the unknown section %q; the sections are %s", name, strings.Join(sectionNames(), ", "))
			}
		}
	}
	r := &report{out: os.Stdout}
	began := time.Now()
	for _, s := range sections {
		if wanted != nil && !slices.Contains(wanted, s.name) {
			continue
		}
		err := throwaway.Outside(ctx, func(tb testing.TB) { s.run(tb, p, r) })
		if errors.Is(err, throwaway.ErrMissing) {
			r.skip(s.name, err)
		} else if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	environment := fmt.Sprintf("%s, %s/%s, %d cores, %v", runtime.Version(), runtime.GOOS, runtime.GOARCH, cores(), time.Since(began).Round(time.Second))
	fmt.Fprintf(r.out, "\n%s\n", environment)
	if plots != "" {
		if err := r.plot(plots); err != nil {
			return err
		}
	}
	if reportFile != "" {
		command := strings.Join(append([]string{"go run ."}, os.Args[1:]...), " ")
		if err := writeReport(reportFile, r.markdown(command, environment)); err != nil {
			return err
		}
	}
	r.writeRatios()
	return nil
}

func sectionNames() []string {
	var names []string
	for _, s := range sections {
		names = append(names, s.name)
	}
	return names
}
