package soak

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// An outcome is the result of a request, as the report counts it.
type outcome int

const (
	answeredYes     outcome = iota // 200 and 204
	answeredNo                     // 400 and 401
	answeredTrouble                // 503
	answeredElse
	connectionRefused
	answerLost
	outcomes
)

// figures sum up the requests of the load.
type figures struct {
	rests
	shed, wrong atomic.Int64

	mu      sync.Mutex
	demands [refreshing + 1]demandFigures
	fault   string          // the fault in progress; "" for none
	faultAt time.Time       // when the last fault began or ended
	calm    [outcomes]int64 // outcomes when no fault was near

	length  time.Duration // of a window
	current window
	latency histogram // of the current window
	windows []window
	kinds   []*faultFigures
}

type demandFigures struct {
	outcomes [outcomes]int64
	latency  histogram // of the answered requests
	calm     histogram // of those when no fault was near
}

// A window sums up the requests of a part of the time, for the plots.
type window struct {
	began                   time.Time
	p50, p99                time.Duration
	answers, troubles, lost int64
}

func newFigures(length time.Duration) *figures {
	f := &figures{length: max(time.Second, (length / 360).Truncate(time.Second))}
	f.windows = make([]window, 0, 2*int(length/f.length+1))
	f.current.began = time.Now()
	f.rests = rests{began: f.current.began, are: length >= longSoak}
	return f
}

func outcomeOf(a httpAnswer) outcome {
	switch {
	case a.unsent():
		return connectionRefused
	case a.status == 0:
		return answerLost
	case a.status < 300:
		return answeredYes
	case a.status == http.StatusUnauthorized || a.status == http.StatusBadRequest:
		return answeredNo
	case a.status == http.StatusServiceUnavailable:
		return answeredTrouble
	}
	return answeredElse
}

// count counts a request with its answer. The latency is from the time when the request
// was due, so that waiting for earlier requests is included.
func (s *runner) count(d demand, due time.Time, a httpAnswer) {
	s.Operations.Add(1)
	if a.status != 0 && !d.expects(a.status) {
		s.judge("a request of kind “" + d.String() + "” was answered with " + http.StatusText(a.status))
	}
	s.figures.count(d, time.Since(due), outcomeOf(a))
}

func (f *figures) count(d demand, took time.Duration, o outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for now.Sub(f.current.began) >= f.length {
		f.closeWindow()
	}
	f.demands[d].outcomes[o]++
	calm := f.fault == "" && now.Sub(f.faultAt) > recoveryBound+timeout
	if calm {
		f.calm[o]++
	}
	switch o {
	case answeredTrouble:
		f.current.troubles++
	case connectionRefused, answerLost:
		f.current.lost++
		return
	}
	f.current.answers++
	f.latency.add(took)
	f.demands[d].latency.add(took)
	if calm {
		f.demands[d].calm.add(took)
	}
}

func (f *figures) closeWindow() {
	f.current.p50, f.current.p99 = f.latency.quantile(0.5), f.latency.quantile(0.99)
	f.windows = append(f.windows, f.current)
	f.current = window{began: f.current.began.Add(f.length)}
	f.latency = histogram{}
}

// setFault records that a fault begins or, with "", that it is over.
func (f *figures) setFault(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.faultAt = name, time.Now()
}

// underFault returns a text about the current or last fault, for violations.
func (f *figures) underFault() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	ago := time.Since(f.faultAt).Round(time.Millisecond)
	switch {
	case f.fault != "":
		return ago.String() + " into the fault “" + f.fault + "”"
	case f.faultAt.IsZero():
		return "before any fault"
	}
	return ago.String() + " after the end of a fault"
}
