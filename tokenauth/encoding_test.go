package tokenauth

import (
	"errors"
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
