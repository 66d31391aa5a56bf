package tokenauth_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A stamp may be a password hash, and a row may have one. So printing a value with
// a principal omits both, and prints all other fields.
func TestStampAndRowAreNotPrinted(t *testing.T) {
	t.Parallel()
	const stamp = "$argon2id$stamp"
	p := tokenauth.Principal{UserID: "17", UserName: "alice", Roles: []string{"Staff"}, Attributes: map[string]string{"tenant": "north"}, Stamp: stamp, Row: &struct{ Hash string }{stamp}}
	for name, value := range map[string]any{
		"itself":       p,
		"pointer":      &p,
		"slice":        []tokenauth.Principal{p},
		"map":          map[string]tokenauth.Principal{"k": p},
		"token":        tokenauth.Token{Principal: p},
		"issued token": &tokenauth.IssuedToken{Token: tokenauth.Token{Principal: p}},
		"struct":       struct{ Caller any }{p},
	} {
		var text, structured bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "value", value)
		slog.New(slog.NewJSONHandler(&structured, nil)).Info("m", "value", value)
		encoded, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		for how, got := range map[string]string{
			"%v": fmt.Sprintf("%v", value), "%+v": fmt.Sprintf("%+v", value), "%#v": fmt.Sprintf("%#v", value), "%s": fmt.Sprintf("%s", value),
			"%q": fmt.Sprintf("%q", value), "%x": fmt.Sprintf("%x", value), "%d": fmt.Sprintf("%d", value),
			"Sprint": fmt.Sprint(value), "Errorf": fmt.Errorf("call: %v", value).Error(),
			"json": string(encoded), "text log": text.String(), "json log": structured.String(),
		} {
			if strings.Contains(got, "argon2id") || strings.Contains(got, fmt.Sprintf("%x", stamp)) {
				t.Errorf("%s, %s: the stamp or the row is printed: %s", name, how, got)
			}

			if how != "%x" && how != "%d" && (!strings.Contains(got, "alice") || !strings.Contains(got, "north")) {
				t.Errorf("%s, %s: the other fields are missing: %s", name, how, got)
			}
		}
	}
	if got, want := fmt.Sprintf("%+v", p), "{UserID:17 UserName:alice Roles:[Staff] Attributes:map[tenant:north] Stamp:[redacted]}"; got != want {
		t.Errorf("printed as %s, want %s", got, want)
	}
	if got := fmt.Sprintf("%+v", tokenauth.Principal{UserID: "17"}); strings.Contains(got, "redacted") {
		t.Errorf("a principal without a stamp is printed as %s", got)
	}
}

// A NumericID has exactly one spelling, so two different users never have the
// same one.
func TestNumericIDIsCanonical(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]uint64{"0": 0, "1": 1, "90": 90, "18446744073709551615": math.MaxUint64} {
		if got, err := (tokenauth.Principal{UserID: id}).NumericID(); got != want || err != nil {
			t.Errorf("of %q: %d, error %v; want %d", id, got, err, want)
		}
	}
	for _, id := range []string{
		"", "00", "007", "+7", "-7", " 7", "7 ", "7.0", "7e1", "0x7", "1_000", "a", "\u0667", "18446744073709551616", "\xff" + strings.Repeat("9", 600),
	} {
		got, err := tokenauth.Principal{UserID: id}.NumericID()
		if got != 0 || err == nil || !strings.Contains(err.Error(), "UserID") || !utf8.ValidString(err.Error()) || len(err.Error()) > 512 {
			t.Errorf("of %q: %d, error %v; want an error that names UserID", id, got, err)
		}
	}
}
