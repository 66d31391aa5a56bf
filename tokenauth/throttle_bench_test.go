package tokenauth

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// BenchmarkThrottleFlood fails to sign in under a million names, each from an
// address of its own, with the default bound of counters: what a try costs, and
// the memory that all of them take. An owner who signed in before is not held
// up, and an account that was held up before still is.
func BenchmarkThrottleFlood(b *testing.B) {
	const names = 1_000_000
	options, err := ThrottleOptions{}.withDefaults()
	if err != nil {
		b.Fatal(err)
	}
	for range b.N {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		t, err := newThrottle(nil, options, time.Now, func(error) {})
		if err != nil {
			b.Fatal(err)
		}
		try := func(name string, from netip.Addr, o outcome) error {
			a, err := t.begin(b.Context(), name, from, time.Second)
			if err == nil {
				a.settle(b.Context(), o, time.Second)
			}
			return err
		}
		home := netip.MustParseAddr("192.0.2.1")
		if err := try("owner", home, succeeded); err != nil {
			b.Fatal(err)
		}
		for range 5 {
			try("victim", home, failed)
		}
		began := time.Now()
		for i := range uint32(names) {
			var address [4]byte
			binary.BigEndian.PutUint32(address[:], 0x0b000000+i)
			try(fmt.Sprint("name", i), netip.AddrFrom4(address), failed)
		}
		took := time.Since(began)
		runtime.GC()
		runtime.ReadMemStats(&after)
		if err := try("owner", home, succeeded); err != nil {
			b.Errorf("the owner: %v", err)
		}
		if got := t.local.get(t.keys("victim", home)[sourceLayer]).Failures; got != 5 {
			b.Errorf("the victim's counter says %d", got)
		}
		b.ReportMetric(float64(took.Nanoseconds())/names, "ns/try")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		b.ReportMetric(float64(len(t.local.counters)+len(t.local.successes)), "counters")
		b.ReportMetric(0, "ns/op")
		runtime.KeepAlive(t)
	}
}
