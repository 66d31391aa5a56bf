package soak

import (
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/child"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial/trialtest"
	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func TestMain(m *testing.M) {
	child.Run(map[string]func() int{"soak": Child}) // returns unless a trial started this process
	os.Exit(throwaway.Main(m))
}

func TestCorrectStorageSurvivesSoak(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"memory:", "sqlite:", "postgres:", "redis:"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			e := trialtest.Env(t, trialtest.Open(t, store), nil, 10*time.Second)
			Run(t, e)
			if broken := e.Broken(); len(broken) > 0 {
				t.Errorf("%d violations, the first: %s", len(broken), broken[0])
			}
			if e.Operations.Load() < 100 {
				t.Errorf("got %d requests, want 100 or more", e.Operations.Load())
			}
			happened := slices.ContainsFunc(e.Report.Sections[1].Rows, func(row []string) bool { return row[1] != "0" })
			if !happened {
				t.Errorf("no fault was injected: %v", e.Report.Sections[1].Rows)
			}
		})
	}
}

// stop must not fail because a client has connected but sent no request.
func TestReplicaStopsWithUnusedConnection(t *testing.T) {
	t.Parallel()
	s, err := startServer(trialtest.Open(t, "memory:").Connect(t), true)
	if err != nil {
		t.Fatal(err)
	}
	unused, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer unused.Close()
	used := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := used.Get("http://" + s.addr + "/me") // the server has then accepted the unused connection, too
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

// Without a cache, an ended token must be refused from the next request on.
func TestSoakFindsPlants(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ store, plant string }{
		{"memory:", "fault-as-not-found"},
		{"memory:", "lost-event"},
		{"sqlite:", "stale-fill"},
		{"sqlite:", "revoke-any"},
	} {
		t.Run(test.plant, func(t *testing.T) {
			t.Parallel()
			e := trialtest.Env(t, trialtest.Open(t, test.store), plant.Named(plant.Shared, test.plant), time.Minute)
			Run(t, e)
			if len(e.Broken()) == 0 {
				t.Errorf("the plant was not found in %d requests", e.Operations.Load())
			}
		})
	}
}

func TestOracleFindsWrongDecisions(t *testing.T) {
	t.Parallel()
	const tick = 10 * time.Millisecond
	type scene struct {
		*oracle
		slot *oracleSlot
	}
	issue := func(s scene) *oracleToken {
		time.Sleep(tick)
		c := s.signsIn(s.slot)
		time.Sleep(tick)
		issued, _ := c.issued("", "")
		time.Sleep(tick)
		return issued
	}
	refresh := func(s scene, token *oracleToken, text string) *oracleToken {
		time.Sleep(tick)
		c := s.refreshes(token)
		time.Sleep(tick)
		issued, _ := c.issued(text, "")
		time.Sleep(tick)
		return issued
	}
	ask := func(s scene, token *oracleToken, accepted bool) string {
		time.Sleep(tick)
		l := s.looks(token, 0, 1)
		time.Sleep(tick)
		if accepted {
			return s.accepted(l)
		}
		return s.refuses(l)
	}
	for name, test := range map[string]struct {
		grace  time.Duration
		play   func(s scene) string
		broken string // part of the violation; "" for none
	}{
		"a valid token is accepted":                     {play: func(s scene) string { return ask(s, issue(s), true) }},
		"a valid token is refused":                      {play: func(s scene) string { return ask(s, issue(s), false) }, broken: "which was valid"},
		"a replaced token is refused":                   {play: func(s scene) string { old := issue(s); issue(s); return ask(s, old, false) }},
		"a replaced token is accepted":                  {play: func(s scene) string { old := issue(s); issue(s); return ask(s, old, true) }, broken: "replaced"},
		"a replaced token is accepted within the grace": {grace: time.Second, play: func(s scene) string { old := issue(s); issue(s); return ask(s, old, true) }},
		"a replaced token is accepted after the grace": {grace: time.Second, broken: "replaced", play: func(s scene) string {
			old := issue(s)
			issue(s)
			time.Sleep(time.Second)
			return ask(s, old, true)
		}},
		"accepted by the replica that refused it": {grace: time.Second, broken: "after it had refused", play: func(s scene) string {
			old := issue(s)
			issue(s)
			return ask(s, old, false) + ask(s, old, true)
		}},
		"a revoked token is accepted": {broken: "revoked", play: func(s scene) string {
			token := issue(s)
			s.revokes(token).end(changed)
			return ask(s, token, true)
		}},
		"refused after the answer to a revocation was lost": {play: func(s scene) string {
			token := issue(s)
			s.revokes(token).end(ambiguous)
			return ask(s, token, false)
		}},
		"refused although the revocation was never sent": {broken: "which was valid", play: func(s scene) string {
			token := issue(s)
			s.revokes(token).end(unchanged)
			return ask(s, token, false)
		}},
		"refused after an older one was revoked": {broken: "which was valid", play: func(s scene) string {
			old := issue(s)
			token := issue(s)
			s.revokes(old).end(changed)
			return ask(s, token, false)
		}},
		"refused during a revocation of the user": {play: func(s scene) string {
			token := issue(s)
			s.revokesUser(0)
			return ask(s, token, false)
		}},
		"accepted after a revocation of the user": {broken: "revoked with its user", play: func(s scene) string {
			token := issue(s)
			s.revokesUser(0).end(changed)
			return ask(s, token, true)
		}},
		"a refreshed token is accepted": {broken: "replaced", play: func(s scene) string {
			old := issue(s)
			refresh(s, old, "next")
			return ask(s, old, true)
		}},
		"the token of a refresh is refused": {broken: "which was valid", play: func(s scene) string {
			return ask(s, refresh(s, issue(s), "next"), false)
		}},
		"the token of a repeated refresh is refused": {broken: "which was valid", play: func(s scene) string {
			old := issue(s)
			refresh(s, old, "next")
			return ask(s, refresh(s, old, "next"), false)
		}},
		"a refresh is refused": {broken: "signed out", play: func(s scene) string { return s.refreshes(issue(s)).refused() }},
		"the refresh of a replaced token is refused": {play: func(s scene) string {
			old := issue(s)
			issue(s)
			return s.refreshes(old).refused()
		}},
		"a refresh is refused during a sign-in": {play: func(s scene) string {
			c := s.refreshes(issue(s))
			s.signsIn(s.slot)
			return c.refused()
		}},
		"a refresh is refused during a revocation": {play: func(s scene) string {
			token := issue(s)
			c := s.refreshes(token)
			s.revokes(token)
			return c.refused()
		}},
		"revoked during the validation": {play: func(s scene) string {
			token := issue(s)
			l := s.looks(token, 0, 1)
			s.revokes(token).end(changed)
			return s.accepted(l)
		}},
		"after two concurrent sign-ins either token may be valid": {play: func(s scene) string {
			a, b := s.signsIn(s.slot), s.signsIn(s.slot)
			time.Sleep(tick)
			first, _ := a.issued("", "")
			second, _ := b.issued("", "")
			return ask(s, first, false) + ask(s, second, true)
		}},
		"refused soon after the answer to a sign-in was lost": {play: func(s scene) string {
			s.signsIn(s.slot).end(ambiguous)
			return ask(s, issue(s), false)
		}},
		"refused long after the answer to a sign-in was lost": {broken: "which was valid", play: func(s scene) string {
			s.signsIn(s.slot).end(ambiguous)
			time.Sleep(2 * settling)
			return ask(s, issue(s), false)
		}},
		"refused long after such a loss, during a fault": {play: func(s scene) string {
			s.faultBegins()
			s.signsIn(s.slot).end(ambiguous)
			time.Sleep(2 * settling)
			return ask(s, issue(s), false)
		}},
		"refused soon after a fault": {play: func(s scene) string {
			s.faultBegins()
			s.signsIn(s.slot).end(ambiguous)
			time.Sleep(2 * settling)
			s.faultEnds()
			return ask(s, issue(s), false)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := newOracle(1, 1, test.grace)
				got := test.play(scene{o, o.slots[0][0]})
				if test.broken == "" && got != "" || !strings.Contains(got, test.broken) {
					t.Errorf("got the violation %q, want %q", got, test.broken)
				}
			})
		})
	}
}

func TestTrendFindsGrowth(t *testing.T) {
	t.Parallel()
	heap := func(s sample) float64 { return s.Heap }
	for name, test := range map[string]struct {
		at    func(minute float64) float64
		slope float64
		grows bool
	}{
		"flat":           {func(float64) float64 { return 1000 }, 0, false},
		"leaks":          {func(m float64) float64 { return 1000 + m }, 60, true},
		"leaks in noise": {func(m float64) float64 { return 1000 + m + 20*math.Sin(7*m) }, 60, true},
		"noise":          {func(m float64) float64 { return 1000 + 20*math.Sin(7*m) }, 0, false},
		"shrinks":        {func(m float64) float64 { return 1000 - m }, -60, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSamples(func(time.Time) bool { return true })
			began := time.Now()
			for second := range 3600 {
				at := time.Duration(second) * time.Second
				s.add(sample{At: began.Add(at), Heap: test.at(at.Minutes())})
			}
			line := trendOf(s.after(began), heap)
			if math.Abs(line.slope-test.slope) > 3 || line.grows(growth) != test.grows {
				t.Errorf("got the slope %.2f ± %.2f, want %.2f; got growth %t, want %t", line.slope, line.err, test.slope, line.grows(growth), test.grows)
			}
		})
	}
}

// Sixty means must have the same trend as all samples of the hour.
func TestMeansHaveTheSameTrend(t *testing.T) {
	t.Parallel()
	began := time.Now()
	var list []sample
	for second := range 3600 {
		at := time.Duration(second) * time.Second
		list = append(list, sample{At: began.Add(at), Heap: 1000 + at.Hours(), Goroutines: 2 * at.Hours(), Files: 3})
	}
	m := means(list, 60)
	if len(m) != 60 {
		t.Errorf("got %d means, want 60", len(m))
	}
	for what, value := range map[float64]func(sample) float64{
		1: func(s sample) float64 { return s.Heap },
		2: func(s sample) float64 { return s.Goroutines },
		0: func(s sample) float64 { return s.Files },
	} {
		if line := trendOf(m, value); math.Abs(line.slope-what) > 1e-6 {
			t.Errorf("got the slope %v, want %v", line.slope, what)
		}
	}
}

// Each minute of a long soak must end with a rest, whose last seconds are settled.
func TestLongSoakRestsEachMinute(t *testing.T) {
	t.Parallel()
	began := time.Now()
	for _, test := range []struct {
		at      time.Duration
		left    time.Duration
		settled bool
	}{
		{0, 0, false},
		{50*time.Second - 1, 0, false},
		{50 * time.Second, 10 * time.Second, false},
		{56 * time.Second, 4 * time.Second, false},
		{58 * time.Second, 2 * time.Second, true},
		{60 * time.Second, 0, false},
		{600*time.Second - 1, 1, true},
	} {
		at := began.Add(test.at)
		long, short := rests{began: began, are: true}, rests{began: began}
		if left, settled := long.left(at), long.settled(at); left != test.left || settled != test.settled {
			t.Errorf("after %v: got %v left and settled %t, want %v and %t", test.at, left, settled, test.left, test.settled)
		}
		if short.left(at) != 0 || short.settled(at) {
			t.Errorf("after %v: got a rest in a short soak, want none", test.at)
		}
	}
}

// A full list must keep samples evenly from all of the time.
func TestSamplesAreThinnedOut(t *testing.T) {
	t.Parallel()
	s := newSamples(func(time.Time) bool { return false })
	began := time.Now()
	const n = 10 * samplesKept
	for i := range n {
		s.add(sample{At: began.Add(time.Duration(i) * time.Second)})
	}
	list := s.after(began)
	if len(list) > samplesKept || len(list) < samplesKept/2 {
		t.Fatalf("got %d samples, want %d to %d", len(list), samplesKept/2, samplesKept)
	}
	step := list[1].At.Sub(list[0].At)
	for i := range list[1:] {
		if d := list[i+1].At.Sub(list[i].At); d != step {
			t.Fatalf("got a gap of %v between two samples, want %v as between the first two", d, step)
		}
	}
	if last := list[len(list)-1].At.Sub(began); last < (n-100)*time.Second {
		t.Errorf("the last sample is of %v, want one of the last 100 seconds", last)
	}
}

func TestHistogramQuantiles(t *testing.T) {
	t.Parallel()
	var h histogram
	for i := range 100_000 {
		h.add(time.Duration(i) * time.Microsecond)
	}
	h.add(time.Hour)
	h.add(-time.Second) // as after a change of the clock
	for q, want := range map[float64]time.Duration{0: 0, 0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond, 1: time.Hour} {
		if got := h.quantile(q); math.Abs(float64(got-want)) > 0.032*float64(want) {
			t.Errorf("quantile(%v) = %v, want %v within 3.2 %%", q, got, want)
		}
	}
}
