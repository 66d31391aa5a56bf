package tokenauth

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func encodingExamples() []Token {
	return []Token{
		{IssuedAt: time.Unix(0, 0).UTC(), ExpiresAt: time.Unix(0, 0).UTC()},
		{
			Slot: SlotOf("17", "web"), Digest: Digest{1}, Replaced: Digest{2}, ClientID: "web",
			Principal: Principal{
				UserID: "17", UserName: "ü b", Roles: []string{"Administrator", "Reader"}, Stamp: strings.Repeat("s", 300),
				Attributes: map[string]string{"b": "", "a": "x", "": "named by nothing"},
			},
			IssuedAt: time.Unix(-1, 0).UTC(), ExpiresAt: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		},
		{
			Slot: slotOf("17", "web", "phone"), ClientID: "web", Device: "phone", DeviceName: strings.Repeat("n", 32) + " and more",
			IssuedAt: time.UnixMilli(1_600_000_000_999).UTC(), ExpiresAt: time.Unix(1_700_000_000, 0).UTC(), Lifetime: time.Hour,
		},
		{IssuedAt: time.Unix(0, 0).UTC(), ExpiresAt: time.Unix(0, 0).UTC(), DeviceName: "laptop"},
		{
			Slot: SlotOf("17", ""), Digest: Digest{3}, Replaced: Digest{4}, Principal: Principal{UserID: "17", Roles: []string{"Reader"}},
			IssuedAt: time.Unix(1_600_000_000, 0).UTC(), ExpiresAt: time.Unix(1_600_000_900, 0).UTC(),
			Refresh: &Refresh{ExpiresAt: time.Unix(1_602_592_000, 0).UTC(), State: []byte{0, 0xff, '\n'}},
		},
		{
			Slot: slotOf("17", "web", "phone"), ClientID: "web", Device: "phone", DeviceName: strings.Repeat("n", 127),
			IssuedAt: time.UnixMilli(1_600_000_000_001).UTC(), ExpiresAt: time.Unix(1_600_000_900, 0).UTC(),
			Refresh: &Refresh{ExpiresAt: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), State: bytes.Repeat([]byte{0x80}, 512)},
		},
		{IssuedAt: time.Unix(0, 0).UTC(), ExpiresAt: time.Unix(0, 0).UTC(), Refresh: &Refresh{ExpiresAt: time.Unix(-1, 0).UTC(), State: []byte{}}},
	}
}

// The encodings of the examples. Storages have such bytes, so they must never change.
func TestTokenEncodingIsStable(t *testing.T) {
	t.Parallel()
	head := func(encoding string, slot Slot, digest, replaced string) string {
		return encoding + fmt.Sprintf("%x", slot.bytes()) + digest + strings.Repeat("00", 31) + replaced + strings.Repeat("00", 31)
	}
	zeros := strings.Repeat("00", 32+32+32+8+8)
	want := []string{
		"01" + zeros + "000000000000",
		"", // has a map, and is tested in another place
		head("02", slotOf("17", "web", "phone"), "00", "00") + "000000005f5e1000" + "000000006553f100" + "03776562" + "00" + "00" + "00" + "00" + "00" +
			"e707" + "901c" + "0570686f6e65" + "29" + strings.Repeat("6e", 32) + "20616e64206d6f7265" + "29",
		"02" + zeros + "000000000000" + "00" + "00" + "00" + "066c6170746f70" + "06",
		head("03", SlotOf("17", ""), "03", "04") + "000000005f5e1000" + "000000005f5e1384" + "00" + "023137" + "00" + "00" + "01" + "06526561646572" + "00" +
			"000000005f859d00" + "0300ff0a" + "00" + "00" + "00" + "00" + "00",
		head("03", slotOf("17", "web", "phone"), "00", "00") + "000000005f5e1000" + "000000005f5e1384" + "03776562" + "00" + "00" + "00" + "00" + "00" +
			"0000003afff4417f" + "8004" + strings.Repeat("80", 512) + "01" + "00" + "0570686f6e65" + "7f" + strings.Repeat("6e", 127) + "7f",
		"03" + zeros + "000000000000" + "ffffffffffffffff" + "00" + "00" + "00" + "00" + "00" + "00",
	}
	for i, token := range encodingExamples() {
		b, err := token.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", b); want[i] != "" && got != want[i] {
			t.Errorf("example %d is encoded as\n%s\nwant\n%s", i, got, want[i])
		}
		// A version before refresh tokens reads encodings 1 and 2, and one before
		// devices reads encoding 1. They refuse other first bytes as corrupt.
		first := byte(tokenEncoding)
		switch {
		case token.Refresh != nil:
			first = refreshTokenEncoding
		case token.DeviceName != "":
			first = deviceTokenEncoding
		}
		if b[0] != first {
			t.Errorf("example %d has encoding %d, want %d", i, b[0], first)
		}
		var got Token
		for _, other := range []byte{0, refreshTokenEncoding + 1, 0xff} {
			if err := got.UnmarshalBinary(append([]byte{other}, b[1:]...)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("example %d with encoding %d: error %v, want ErrCorrupt", i, other, err)
			}
		}
	}
}

func TestTokenEncodingRoundTrip(t *testing.T) {
	t.Parallel()
	for _, want := range encodingExamples() {
		b, err := want.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var got Token
		if err := got.UnmarshalBinary(b); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("decoded %+v, error %v, want %+v", got, err, want)
		}
		// Neither a part of an encoding nor a longer one decodes.
		for n := range len(b) {
			if err := got.UnmarshalBinary(b[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("the first %d of %d bytes: error %v, want ErrCorrupt", n, len(b), err)
			}
		}
		if err := got.UnmarshalBinary(append(b, 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("with an additional byte: error %v, want ErrCorrupt", err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Error("UnmarshalBinary failed and changed the token")
		}
	}
}

func FuzzTokenUnmarshalBinary(f *testing.F) {
	for _, t := range encodingExamples() {
		b, _ := t.MarshalBinary()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var first, second Token
		if err := first.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("error %v, want ErrCorrupt", err)
			}
			return
		}
		again, err := first.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if err := second.UnmarshalBinary(again); err != nil || !reflect.DeepEqual(first, second) {
			t.Errorf("decoded %+v, and again from its encoding %+v, error %v", first, second, err)
		}
	})
}
