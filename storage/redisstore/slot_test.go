package redisstore

import (
	"strings"
	"testing"
)

// The expected slots are the answers of CLUSTER KEYSLOT.
func TestSlotOf(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int{"": 0, "123456789": 12739, "foo": 12182, "tokenauth:": 59} {
		if got := slotOf(key); got != want {
			t.Errorf("slotOf(%q) is %d, want %d", key, got, want)
		}
	}
}

// The heartbeat key of a master is in a slot that the master owns and that does
// not move, even if the master owns one slot only.
func TestBeatKeyAtAvoidsMovingSlots(t *testing.T) {
	t.Parallel()
	s := &Store{prefix: strings.Repeat("p", maxPrefixLength)}
	first := s.beatKey(1) // in any slot
	for _, test := range []struct {
		slots   string
		in, out []int // slots
		says    string
	}{
		{"0-16383", []int{0, 16383}, nil, ""},
		{"0-5460 10000 [93->-bbbb] [94-<-bbbb]", []int{0, 92, 95, 5460, 10000}, []int{93, 94, 5461, 9999}, ""},
		{"16383", []int{16383}, []int{0, 16382}, ""},
		{"93 [93->-bbbb]", nil, []int{93}, "aaaa"},
		{"x-y 99999-100000", nil, []int{0}, "aaaa"},
	} {
		v := &view{self: "aaaa", has: "7 " + test.slots}
		slots := v.atRest()
		for _, slot := range test.in {
			if !slots[slot] {
				t.Errorf("slots %q: atRest excludes slot %d", test.slots, slot)
			}
		}
		for _, slot := range test.out {
			if slots[slot] {
				t.Errorf("slots %q: atRest includes slot %d", test.slots, slot)
			}
		}
		key, err := s.beatKeyAt(v)
		switch {
		case test.says != "":
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("slots %q: beatKeyAt returned error %v, want one with %q", test.slots, err, test.says)
			}
		case err != nil || !slots[slotOf(key)] || !isBeat(key):
			t.Errorf("slots %q: beatKeyAt returned %q, error %v, want a heartbeat key in one of them", test.slots, key, err)
		}
	}
	if key, err := s.beatKeyAt(&view{has: "7 0-16383"}); key != first || err != nil {
		t.Errorf("with all slots, beatKeyAt returned %q, error %v, want %q", key, err, first)
	}
}

func TestIsBeat(t *testing.T) {
	t.Parallel()
	s := &Store{prefix: "tokenauth:"}
	for name, want := range map[string]bool{
		s.beatKey(1):          true,
		s.beatKey(0xffffffff): true,
		"tokenauth:b:" + strings.TrimPrefix(s.beatKey(7), "tokenauth:"): true,
		strings.TrimPrefix(s.beatKey(1), "tokenauth:"):                  false,
		"tokenauth:" + strings.Repeat("0", 23) + "100000001":            false,
		"tokenauth:" + strings.Repeat("0", 24) + "0000000x":             false,
		"tokenauth:": false,
		"":           false,
	} {
		if got := isBeat(name); got != want {
			t.Errorf("isBeat(%q) is %v, want %v", name, got, want)
		}
	}
}
