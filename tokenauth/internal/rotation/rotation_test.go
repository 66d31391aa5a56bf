package rotation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// Another program made the golden values. If this test fails, processes of two versions
// would derive different tokens, or not read the states that storages have.
func TestFormatStaysTheSame(t *testing.T) {
	t.Parallel()
	const (
		refreshToken = "trt_AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fQEFCQ0RFRkdISUpLTE1OT1BRYGFi4OHi4-Tl5ufo6err7O3u7_Dx8vP09fb3-Pn6-_z9_v8xlqRL"
		wantAccess   = "e476fb1959fba30a056b2c979266b9f1f273185832a61b04ffb7ff347c76d7e2"
		wantRefresh  = "95d6ac0b367aeb1afc800e16f92b8b22146d808411830f00175dcca9de342ddf"
		encoded      = "01" +
			"0101010101010101010101010101010101010101010101010101010101010101" +
			"0202020202020202020202020202020202020202020202020202020202020202" +
			"0303030303030303030303030303030303030303030303030303030303030303" +
			"000000006aa1f940" + "00000009" + "00000002" + "00000003" + "000001a088b78441" + "01" +
			"04040404040404040404040404040404" + "05050505050505050505050505050505" +
			"000001a088b78440" + "06060606" + "0707070707070707" + "02"
	)
	var salt [16]byte
	for i := range salt {
		salt[i] = byte(0x10 + i)
	}
	access, refresh := Derive([]byte("0123456789abcdef0123456789abcdef"), refreshToken, salt)
	if hex.EncodeToString(access[:]) != wantAccess || hex.EncodeToString(refresh[:]) != wantRefresh {
		t.Errorf("derived the secrets %x and %x, want %s and %s", access, refresh, wantAccess, wantRefresh)
	}
	state := &State{
		Access: filled(1), Current: filled(2), Family: filled(3), SignedIn: 1_789_000_000,
		Number: 9, Old: 2, Pending: 3, PendingAt: 1_789_000_123_457,
		Recent: []Rotation{{
			Used: [16]byte(bytes.Repeat([]byte{4}, 16)), Salt: [16]byte(bytes.Repeat([]byte{5}, 16)), At: 1_789_000_123_456,
			Process: [4]byte{6, 6, 6, 6}, Source: [8]byte{7, 7, 7, 7, 7, 7, 7, 7}, Repeats: 2,
		}},
	}
	if got := hex.EncodeToString(state.Encode()); got != encoded {
		t.Errorf("encoded as %s, want %s", got, encoded)
	}
	decoded, err := Decode(state.Encode())
	if err != nil || fmt.Sprint(decoded) != fmt.Sprint(state) {
		t.Errorf("decoded %v, error %v; want %v", decoded, err, state)
	}
}

func filled(b byte) (digest [sha256.Size]byte) {
	copy(digest[:], bytes.Repeat([]byte{b}, len(digest)))
	return digest
}

func TestDerivationDependsOnEachInput(t *testing.T) {
	t.Parallel()
	seen := make(map[[32]byte]string)
	for _, in := range []struct {
		key, token string
		salt       byte
	}{
		{"key", "token", 1}, {"another key", "token", 1}, {"key", "another token", 1}, {"key", "token", 2},
	} {
		access, refresh := Derive([]byte(in.key), in.token, [16]byte{in.salt})
		for _, secret := range [][32]byte{access, refresh} {
			if other, ok := seen[secret]; ok {
				t.Errorf("%v and %s have the same secret", in, other)
			}
			seen[secret] = fmt.Sprint(in)
		}
	}
}

// In these tests the grace is 30 seconds, and the clock of the Reader shows noon.
var (
	noon  = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	here  = [4]byte{1}
	there = [4]byte{2}
)

func reader() Reader { return Reader{Now: noon, Grace: 30 * time.Second, Process: here} }

func rotated(used [sha256.Size]byte, ago time.Duration, process [4]byte) Rotation {
	return Rotation{Used: [16]byte(used[:16]), At: noon.Add(-ago).UnixMilli(), Process: process}
}

// The process of a rotation measures its age by the same clock. The clock of another
// process may differ by 2 seconds.
func TestGraceByTheClocksOfProcesses(t *testing.T) {
	t.Parallel()
	const grace = 30 * time.Second
	for _, test := range []struct {
		ago     time.Duration
		process [4]byte
		want    Verdict
	}{
		{0, here, Repeated},
		{grace, here, Repeated},
		{grace + time.Millisecond, here, Reused},
		{time.Hour, here, Reused},
		{10 * 365 * 24 * time.Hour, here, Reused},
		{grace, there, Repeated},
		{grace + 2*time.Second, there, Repeated}, // its clock is behind
		{grace + 2*time.Second + time.Millisecond, there, Reused},
		{-2 * time.Second, there, Repeated}, // its clock is ahead
		{-2*time.Second - time.Millisecond, there, Unsure},
		{-2 * time.Second, here, Repeated}, // the clock was corrected
		{-time.Hour, here, Unsure},         // the clock was set back
		{-time.Hour, there, Unsure},
		{time.Hour, there, Reused}, // or its clock is an hour behind
	} {
		state := State{Family: filled(3), Current: filled(2), Recent: []Rotation{rotated(filled(1), test.ago, test.process)}}
		used, family := filled(1), filled(3)
		if got, _ := state.Judge(&used, &family, 0, reader()); got != test.want {
			t.Errorf("a rotation %v ago by the process %v: the verdict is %v, want %v", test.ago, test.process, got, test.want)
		}
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	const second = time.Second
	full := []Rotation{rotated(filled(11), 20*second, here), rotated(filled(12), 15*second, here), rotated(filled(13), 10*second, here), rotated(filled(14), 5*second, here)}
	exhausted := rotated(filled(11), second, here)
	exhausted.Repeats = MaxRepeats
	exhaustedLater := rotated(filled(11), time.Hour, here)
	exhaustedLater.Repeats = MaxRepeats
	for _, test := range []struct {
		name    string
		recent  []Rotation
		token   byte
		family  byte
		want    Verdict
		atIndex int
	}{
		{"the current token", nil, 2, 3, Current, 0},
		{"the current token after rotations", full, 2, 3, Current, 0},
		{"another family", full, 2, 4, Foreign, 0},
		{"a used token of another family", full, 14, 4, Foreign, 0},
		{"the token used last", full, 14, 3, Repeated, 3},
		{"the token used four rotations ago", full, 11, 3, Repeated, 0},
		{"a token used five rotations ago, all within the grace", full, 10, 3, Unsure, 0},
		{"a token used before the rotations that are remembered", full[1:], 11, 3, Reused, 0},
		{"a token used before, without rotations", nil, 11, 3, Reused, 0},
		{"a repetition too many", []Rotation{exhausted}, 11, 3, Exhausted, 0},
		{"a repetition too many, after the grace", []Rotation{exhaustedLater}, 11, 3, Reused, 0},
	} {
		state := State{Family: filled(3), Current: filled(2), Recent: test.recent}
		token, family := filled(test.token), filled(test.family)
		if got, i := state.Judge(&token, &family, 0, reader()); got != test.want || i != test.atIndex {
			t.Errorf("%s: the verdict is %v at %d, want %v at %d", test.name, got, i, test.want, test.atIndex)
		}
	}
}

func TestNextForgetsRotationsAfterTheGrace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		ago  []time.Duration
		want int // number of earlier rotations that are kept
	}{
		{nil, 0},
		{[]time.Duration{time.Second}, 1},
		{[]time.Duration{time.Hour, time.Minute, time.Second}, 1},
		{[]time.Duration{4 * time.Second, 3 * time.Second, 2 * time.Second, time.Second}, 3},
		{[]time.Duration{time.Hour}, 0},
		{[]time.Duration{-time.Hour}, 1}, // a clock was set back
		// The clocks of two processes differ. The pair of the first one is derived
		// through the second one.
		{[]time.Duration{time.Second, time.Hour}, 2},
	} {
		state := State{Family: filled(3), SignedIn: 17}
		for _, ago := range test.ago {
			state.Recent = append(state.Recent, rotated(filled(byte(len(state.Recent))), ago, here))
		}
		latest := rotated(filled(9), 0, here)
		next := state.Next(latest, filled(4), filled(5), reader())
		if len(next.Recent) != test.want+1 || next.Recent[test.want] != latest {
			t.Errorf("after rotations %v ago: %d are kept, want %d and the latest", test.ago, len(next.Recent), test.want)
		}
		if next.Access != filled(4) || next.Current != filled(5) || next.Family != state.Family || next.SignedIn != 17 || len(state.Recent) != len(test.ago) {
			t.Errorf("the next state is %+v", next)
		}
		if size := len(next.Encode()); size > MaxSize || MaxSize > 512 {
			t.Errorf("the state has %d bytes, want at most %d", size, MaxSize)
		}
	}
}

// However often a thief refreshes, a token that was used longer ago than two graces
// counts as reused, and none that was used within the grace does.
func TestFrequentRotationsHideNoReuse(t *testing.T) {
	t.Parallel()
	const second = time.Second
	for name, rotations := range map[string]struct {
		pauses []time.Duration // between the rotations, in turn
		number int
	}{
		"at once":        {[]time.Duration{time.Millisecond}, 300},
		"each second":    {[]time.Duration{second}, 300},
		"each 5 seconds": {[]time.Duration{5 * second}, 60},
		"each 7 seconds": {[]time.Duration{7 * second}, 60},
		"each 8 seconds": {[]time.Duration{8 * second}, 60},
		"each minute":    {[]time.Duration{60 * second}, 30},
		"first slowly":   {append(slices.Repeat([]time.Duration{60 * second}, 20), slices.Repeat([]time.Duration{second}, 40)...), 60},
		"in turn":        {[]time.Duration{40 * second, second, second, second, second, 6 * second, 29 * second}, 80},
	} {
		by := reader()
		state := &State{Family: filled(3)}
		family := filled(3)
		var used []time.Time // by the number of the token
		for n := range rotations.number {
			for number, at := range used {
				token := numbered(number)
				age := by.Now.Sub(at)
				switch v, _ := state.Judge(&token, &family, uint32(number), by); {
				case age <= by.Grace && v == Reused:
					t.Fatalf("%s: token %d, used %v ago, counts as reused", name, number, age)
				case age > 2*(by.Grace+Skew)+8*second && v != Reused:
					t.Fatalf("%s: token %d, used %v ago, is %v, want Reused", name, number, age, v)
				}
			}
			token := numbered(n)
			used = append(used, by.Now)
			state = state.Next(Rotation{Used: [16]byte(token[:16]), At: by.Now.UnixMilli(), Process: here}, filled(1), numbered(n+1), by)
			if int(state.Number) != n+1 {
				t.Fatalf("the token after %d has the number %d", n, state.Number)
			}
			by.Now = by.Now.Add(rotations.pauses[n%len(rotations.pauses)])
		}
	}
}

func numbered(n int) [sha256.Size]byte { return sha256.Sum256([]byte{byte(n >> 8), byte(n)}) }

func TestDecodeRefusesOtherBytes(t *testing.T) {
	t.Parallel()
	good := (&State{Recent: make([]Rotation, 2)}).Encode()
	tooMany := (&State{Recent: make([]Rotation, MaxRecent+1)}).Encode()
	version := bytes.Clone(good)
	version[0] = 2
	for name, b := range map[string][]byte{
		"nothing": nil, "one byte": {1}, "one byte less": good[:len(good)-1], "one byte more": append(bytes.Clone(good), 0),
		"a rotation less": good[:len(good)-rotationSize], "too many rotations": tooMany, "another version": version,
	} {
		if state, err := Decode(b); !errors.Is(err, ErrCorrupt) || state != nil {
			t.Errorf("%s: decoded %v, error %v; want ErrCorrupt", name, state, err)
		}
	}
}

// Encode returns the bytes that Decode accepted.
func FuzzDecode(f *testing.F) {
	f.Add((&State{}).Encode())
	f.Add((&State{Access: filled(1), SignedIn: -1, Recent: []Rotation{rotated(filled(1), time.Hour, here)}}).Encode())
	f.Add((&State{Recent: make([]Rotation, MaxRecent)}).Encode())
	f.Add([]byte("trt_"))
	f.Fuzz(func(t *testing.T, b []byte) {
		state, err := Decode(b)
		if err != nil {
			return
		}
		if again := state.Encode(); !bytes.Equal(again, b) || len(b) > MaxSize {
			t.Fatalf("%x was decoded, and encoded as %x", b, again)
		}
		// Whatever the times in a state are, only a token of the family is worth
		// something.
		other := state.Family
		other[0] ^= 1
		if v, _ := state.Judge(&state.Current, &other, 0, reader()); v != Foreign {
			t.Errorf("the token of another family is %v, want Foreign", v)
		}
		if v, _ := state.Judge(&state.Current, &state.Family, 0, reader()); v != Current {
			t.Errorf("the current token is %v, want Current", v)
		}
		for _, r := range state.Recent {
			used := state.Current
			copy(used[:], r.Used[:])
			if v, i := state.Judge(&used, &state.Family, 0, reader()); v == Foreign || i >= len(state.Recent) {
				t.Errorf("a used token is %v at %d", v, i)
			}
		}
	})
}
