package soak

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
)

// A held is a resource that a process holds, with its amount over time.
type held struct {
	process, what string
	samples       []sample
	value         func(sample) float64
}

// held returns the resources of the replica that is never restarted, and of this
// process. It leaves out the first tenth of the time, in which they warm up.
func (s *runner) held() (all []held) {
	warm := s.began.Add(time.Since(s.began) / 10)
	for _, p := range []struct {
		name string
		of   *samples
	}{{"replica 0", s.nodes[0].seen}, {"the load", s.own}} {
		list := p.of.after(warm)
		if s.are {
			list = slices.DeleteFunc(list, func(one sample) bool { return !one.settled })
		}
		if len(list) < 3 {
			continue // no samples: the replica runs in this process
		}
		list = means(list, 60)
		all = append(all,
			held{p.name, "heap, KiB", list, func(s sample) float64 { return s.Heap / 1024 }},
			held{p.name, "goroutines", list, func(s sample) float64 { return s.Goroutines }},
			held{p.name, "descriptors", list, func(s sample) float64 { return s.Files }},
		)
	}
	return all
}

// judgeGrowth reports resources that grow. Only a long soak can distinguish a leak from
// noise.
func (s *runner) judgeGrowth() {
	if !s.are {
		return
	}
	for _, h := range s.held() {
		if t := trendOf(h.samples, h.value); t.grows(growth) {
			s.Violate("soak on %s, seed %d: %s: %s grows by %.2f %% an hour, from a level of %.1f", s.Backend.Name, s.Seed, h.process, h.what, t.percent(), t.level)
		}
	}
}

func (s *runner) addSections(tb testing.TB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for time.Since(s.current.began) >= s.length {
		s.closeWindow()
	}
	requests := s.requests()
	for _, draw := range []func() (string, error){s.plotLatency, s.plotTrouble, s.plotHeap, s.plotGoroutines} {
		file, err := draw()
		if err != nil {
			tb.Fatal(err)
		}
		if file != "" {
			requests.Plots = append(requests.Plots, file)
		}
	}
	s.Report.Add(requests)
	s.Report.Add(s.recoveries())
	s.Report.Add(s.growth())
}

func (s *runner) requests() *report.Section {
	took := time.Since(s.began)
	t := &report.Section{
		Title: "Soak: requests",
		About: fmt.Sprintf("%.0f requests a second to three replicas for %v, at random times, whether or not earlier requests were answered.", s.Rate, took.Round(time.Second)),
		Head:  []string{"request", "done", "refused", "503", "other status", "no connection", "answer lost", "p50 ms", "p99 ms", "max ms", "p99 ms, calm", "max ms, calm"},
	}
	var sent int64
	for d := range s.demands {
		f := &s.demands[d]
		row := []any{demand(d)}
		for _, n := range f.outcomes {
			row = append(row, n)
			sent += n
		}
		all, calm := &f.latency, &f.calm
		t.Row(append(row, report.Milliseconds(all.quantile(0.5)), report.Milliseconds(all.quantile(0.99)), report.Milliseconds(all.worst), report.Milliseconds(calm.quantile(0.99)), report.Milliseconds(calm.worst))...)
	}
	t.Note("%d requests sent (%.0f a second), %d not sent because %d were in progress, %d decisions wrong.", sent, float64(sent)/took.Seconds(), s.shed.Load(), maxInFlight, s.wrong.Load())
	t.Note("A valid token is one that is certainly valid, as far as the client knows; an ended token has certainly ended. Caches accepted an ended token %d times, at most %v after its end.", s.oracle.stale, s.oracle.longest.Round(time.Microsecond))
	t.Note("Calm is the time without a fault, from %v after a fault on. In that time %d requests were done, %d refused, %d answered with 503, and %d lost or not connected.", recoveryBound+timeout,
		s.calm[answeredYes], s.calm[answeredNo], s.calm[answeredTrouble], s.calm[answerLost]+s.calm[connectionRefused])
	return t
}

func (s *runner) recoveries() *report.Section {
	t := &report.Section{
		Title: "Soak: faults",
		About: fmt.Sprintf("The time from the end of a fault until users could sign in at every affected replica and use their tokens. The maximum allowed is %v.", recoveryBound+s.Patience),
		Head:  []string{"fault", "times", "p50 ms", "max ms"},
	}
	for _, f := range s.kinds {
		t.Row(f.name, f.recovery.n, report.Milliseconds(f.recovery.quantile(0.5)), report.Milliseconds(f.recovery.worst))
	}
	return t
}

func (s *runner) growth() *report.Section {
	t := &report.Section{
		Title: "Soak: resources of the processes",
		About: fmt.Sprintf("Measured once a second, the heap after a garbage collection. In a long soak, only the last seconds of each minute count: no request is sent in its last %v. Each sample is the mean of a sixtieth of the time. The slope is of a least-squares line, with its standard error.", restFor),
		Head:  []string{"process", "resource", "samples", "level", "slope an hour", "±", "% an hour"},
	}
	for _, h := range s.held() {
		line := trendOf(h.samples, h.value)
		t.Row(h.process, h.what, len(h.samples), fmt.Sprintf("%.1f", line.level), fmt.Sprintf("%.2f", line.slope), fmt.Sprintf("%.2f", line.err), fmt.Sprintf("%.2f", line.percent()))
	}
	if !s.are {
		t.Note("A slope is meaningful only after %v.", longSoak.Round(10*time.Minute))
	}
	return t
}

func (s *runner) plotLatency() (string, error) {
	p50, p99 := report.Series{Name: "p50"}, report.Series{Name: "p99"}
	for _, w := range s.windows {
		p50.Add(s.minutes(w.began), w.p50.Seconds()*1000)
		p99.Add(s.minutes(w.began), w.p99.Seconds()*1000)
	}
	return s.drawOver("soak-latency", fmt.Sprintf("Latency, all requests, by windows of %v", s.length), "milliseconds", p50, p99)
}

func (s *runner) plotTrouble() (string, error) {
	troubles, lost := report.Series{Name: "503"}, report.Series{Name: "lost or not connected"}
	for _, w := range s.windows {
		troubles.Add(s.minutes(w.began), float64(w.troubles))
		lost.Add(s.minutes(w.began), float64(w.lost))
	}
	return s.drawOver("soak-trouble", fmt.Sprintf("Requests that failed, by windows of %v", s.length), "requests", troubles, lost)
}

func (s *runner) plotHeap() (string, error) {
	return s.plotHeld("soak-heap", "Heap after a collection", "MiB", func(s sample) float64 { return s.Heap / (1 << 20) })
}

func (s *runner) plotGoroutines() (string, error) {
	return s.plotHeld("soak-goroutines", "Goroutines", "goroutines", func(s sample) float64 { return s.Goroutines })
}

func (s *runner) plotHeld(name, title, y string, value func(sample) float64) (string, error) {
	replica, own := report.Series{Name: "replica 0"}, report.Series{Name: "the load"}
	for line, of := range map[*report.Series]*samples{&replica: s.nodes[0].seen, &own: s.own} {
		for _, one := range of.after(s.began) {
			line.Add(s.minutes(one.At), value(one))
		}
	}
	return s.drawOver(name, title, y, replica, own)
}

func (s *runner) minutes(t time.Time) float64 { return t.Sub(s.began).Minutes() }

// drawOver draws the lines that have two points or more, over the time in minutes.
func (s *runner) drawOver(name, title, y string, lines ...report.Series) (string, error) {
	var some []report.Series
	for _, l := range lines {
		if len(l.X) > 1 {
			some = append(some, l)
		}
	}
	if len(some) == 0 {
		return "", nil
	}
	return s.Report.Plot(name, title, "minutes", y, some...)
}
