package limiter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
)

// BenchmarkFlood fails to sign in under a million names, each from its own
// address, with the default number of counters. It measures the cost of an
// attempt and the memory of all of them. It also checks that an owner who
// signed in before is not blocked, and that an account that was blocked before
// still is.
func BenchmarkFlood(b *testing.B) {
	const names = 1_000_000
	for range b.N {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		l := New(Config{
			PerAccountAndSource: 5, PerAccount: 20, AccountCeiling: 100, PerSource: 100, MaxCounters: 200_000, Replicas: 1, Now: time.Now,
			Timeout: &deadline.Timeout{Duration: time.Second},
		})
		tried := 0
		try := func(name string, from netip.Addr, o Outcome) error {
			tried++ // a different password each time
			a := l.Attempt(name, strconv.Itoa(tried), Source{Addr: from})
			err := a.CountName(b.Context())
			if err == nil {
				a.Settle(b.Context(), o)
			}
			return err
		}
		home := netip.MustParseAddr("192.0.2.1")
		if err := try("owner", home, Succeeded); err != nil {
			b.Fatal(err)
		}
		for range 5 {
			try("victim", home, Failed)
		}
		began := time.Now()
		for i := range uint32(names) {
			var address [4]byte
			binary.BigEndian.PutUint32(address[:], 0x0b000000+i)
			try(fmt.Sprint("name", i), netip.AddrFrom4(address), Failed)
		}
		took := time.Since(began)
		runtime.GC()
		runtime.ReadMemStats(&after)
		if err := try("owner", home, Succeeded); err != nil {
			b.Errorf("sign-in of the owner: got error %v", err)
		}
		if got := l.local.get(l.namer.names("victim", Source{Addr: home}).pair).Failures; got != 5 {
			b.Errorf("the counter of the blocked account has %d failures", got)
		}
		b.ReportMetric(float64(took.Nanoseconds())/names, "ns/try")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		b.ReportMetric(float64(l.Len()), "counters")
		b.ReportMetric(0, "ns/op")
		runtime.KeepAlive(l)
	}
}
