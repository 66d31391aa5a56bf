package soak

import (
	"math"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
)

// A sample is the resources of a process at one moment.
type sample struct {
	At         time.Time
	Heap       float64 // bytes in use after a collection
	Goroutines float64
	Files      float64 // file descriptors; zero if the system has no /proc
	// settled is whether the process was at rest. See rests.
	settled bool
}

func takeSample() sample {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	files, _ := os.ReadDir("/proc/self/fd")
	return sample{At: time.Now(), Heap: float64(m.HeapAlloc), Goroutines: float64(runtime.NumGoroutine()), Files: float64(len(files))}
}

// samples are the samples of a process over time. Their memory is allocated at the
// start, because the heap of this process is measured, too. If it is full, every other
// sample is dropped.
type samples struct {
	settled    func(time.Time) bool
	mu         sync.Mutex
	list       []sample
	step, next int // one of step samples is kept
}

const samplesKept = 8192

func newSamples(settled func(time.Time) bool) *samples {
	return &samples{settled: settled, list: make([]sample, 0, samplesKept), step: 1}
}

func (s *samples) add(one sample) {
	one.settled = s.settled(one.At)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	if len(s.list) == samplesKept {
		for i := range samplesKept / 2 {
			s.list[i] = s.list[2*i+1]
		}
		s.list = s.list[:samplesKept/2]
		s.step *= 2
	}
	if s.next%s.step == 0 {
		s.list = append(s.list, one)
	}
}

// after returns the samples that were not taken before t.
func (s *samples) after(t time.Time) []sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.list), func(one sample) bool { return one.At.Before(t) })
}

// means divides the time into parts and returns the mean of the samples of each part.
// Consecutive samples are correlated, so the standard error of a line through all of
// them would be too small.
func means(list []sample, parts int) (m []sample) {
	length := list[len(list)-1].At.Sub(list[0].At)/time.Duration(parts) + 1
	for len(list) > 0 {
		end, n := list[0].At.Add(length), 0
		var sum sample
		var since time.Duration
		for n < len(list) && list[n].At.Before(end) {
			sum.Heap += list[n].Heap
			sum.Goroutines += list[n].Goroutines
			sum.Files += list[n].Files
			since += list[n].At.Sub(list[0].At)
			n++
		}
		sum.At = list[0].At.Add(since / time.Duration(n))
		sum.Heap /= float64(n)
		sum.Goroutines /= float64(n)
		sum.Files /= float64(n)
		m = append(m, sum)
		list = list[n:]
	}
	return m
}

// A trend is a line through points, by least squares.
type trend struct {
	level float64 // the mean value
	slope float64 // per hour
	err   float64 // standard error of the slope
}

// trendOf returns the line through the values of the samples.
func trendOf(list []sample, value func(sample) float64) (t trend) {
	if len(list) < 3 {
		return trend{err: math.Inf(1)}
	}
	n := float64(len(list))
	hours := func(s sample) float64 { return s.At.Sub(list[0].At).Hours() }
	var middle float64
	for _, s := range list {
		middle += hours(s) / n
		t.level += value(s) / n
	}
	var xx, xy float64
	for _, s := range list {
		x := hours(s) - middle
		xx += x * x
		xy += x * (value(s) - t.level)
	}
	t.slope = xy / xx
	var rest float64
	for _, s := range list {
		d := value(s) - t.level - t.slope*(hours(s)-middle)
		rest += d * d
	}
	t.err = math.Sqrt(rest / (n - 2) / xx)
	return t
}

// percent returns the slope per hour in percent of the level.
func (t trend) percent() float64 { return 100 * t.slope / t.level }

// grows reports whether the value rises by more than percent an hour, with a margin of
// three standard errors.
func (t trend) grows(percent float64) bool {
	return 100*(t.slope-3*t.err) > percent*t.level
}
