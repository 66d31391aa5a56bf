package tokenauth_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

const plain = "hunter2-of-alice"

// leaks reports whether a text contains the secret, also in the numeric forms
// that fmt prints.
func leaks(text string) bool {
	for _, form := range []string{
		plain, hex.EncodeToString([]byte(plain)), base64.StdEncoding.EncodeToString([]byte(plain)),
		"104 117 110 116", "68 75 6e 74", "U+0068 U+0075", "0x68, 0x75",
	} {
		if strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
			return true
		}
	}
	return false
}

type exported struct{ Password tokenauth.Secret }

type unexported struct {
	password tokenauth.Secret
	inner    struct{ pointer *tokenauth.Secret }
}

// holders are the places where a Secret may be stored, and whether fmt calls
// its methods there. It does not in unexported fields.
func holders() map[string]struct {
	value  any
	called bool
} {
	s := tokenauth.NewSecret(plain)
	hidden := unexported{password: s}
	hidden.inner.pointer = &s
	type holder = struct {
		value  any
		called bool
	}
	return map[string]holder{
		"itself":                {s, true},
		"pointer":               {&s, true},
		"exported field":        {exported{s}, true},
		"pointer to struct":     {&exported{s}, true},
		"unexported field":      {hidden, false},
		"pointer to unexported": {&hidden, false},
		"slice":                 {[]tokenauth.Secret{s}, true},
		"slice of any":          {[]any{s}, true},
		"map value":             {map[string]tokenauth.Secret{"k": s}, true},
		"map key":               {map[tokenauth.Secret]string{s: "v"}, true},
		"credentials":           {tokenauth.Credentials{UserName: "alice", Password: s}, true},
		"grant":                 {tokenauth.IssuedToken{AccessToken: s}, true},
	}
}

func TestSecretIsNotPrinted(t *testing.T) {
	t.Parallel()
	const redacting = "vsqxXdoObBcUteEfFgG"
	for name, holder := range holders() {
		for _, verb := range redacting + "pTw" {
			for _, flags := range []string{"", "+", "#", "-30", "030.5", " "} {
				format := "%" + flags + string(verb)
				got := fmt.Sprintf(format, holder.value)
				if leaks(got) {
					t.Errorf("%s, %s prints the secret: %s", name, format, got)
				}
				// The verbs for integers also print the other keys and the
				// lengths.
				if holder.called && strings.ContainsRune(redacting, verb) && !strings.Contains(got, "[redacted]") {
					t.Errorf("%s, %s: %s, want [redacted] in it", name, format, got)
				}
			}
		}
		for how, got := range map[string]string{"Sprint": fmt.Sprint(holder.value), "Sprintln": fmt.Sprintln(holder.value), "Errorf": fmt.Errorf("call: %v", holder.value).Error()} {
			if leaks(got) {
				t.Errorf("%s, %s prints the secret: %s", name, how, got)
			}
		}
	}
	s := tokenauth.NewSecret(plain)
	if got := s.String() + s.GoString() + s.LogValue().String(); got != "[redacted][redacted][redacted]" {
		t.Errorf("its methods return the secret: %s", got)
	}
}

func TestSecretIsNotEncoded(t *testing.T) {
	t.Parallel()
	encoders := map[string]func(v any) (string, error){
		"json": func(v any) (string, error) { b, err := json.Marshal(v); return string(b), err },
		"xml":  func(v any) (string, error) { b, err := xml.Marshal(v); return string(b), err },
		"gob": func(v any) (string, error) {
			var b bytes.Buffer
			err := gob.NewEncoder(&b).Encode(v)
			return b.String(), err
		},
	}
	for name, holder := range holders() {
		for encoding, encode := range encoders {
			got, err := encode(holder.value)
			if leaks(got) || err != nil && leaks(err.Error()) {
				t.Errorf("%s in %s leaks the secret: %q, error %v", name, encoding, got, err)
			}
			// XML cannot encode maps, and gob cannot encode a struct without
			// exported fields.
			if encoding == "json" && holder.called && (err != nil || !strings.Contains(got, "[redacted]")) {
				t.Errorf("%s in json: %q, error %v; want [redacted] in it", name, got, err)
			}
		}
	}
	type attribute struct {
		Password tokenauth.Secret `xml:"password,attr"`
	}
	if b, err := xml.Marshal(attribute{tokenauth.NewSecret(plain)}); err != nil || string(b) != `<attribute password="[redacted]"></attribute>` {
		t.Errorf("XML attribute: %s, error %v", b, err)
	}
}

func TestSecretIsNotLogged(t *testing.T) {
	t.Parallel()
	for name, holder := range holders() {
		var text, jsonText bytes.Buffer
		for _, handler := range []slog.Handler{slog.NewTextHandler(&text, nil), slog.NewJSONHandler(&jsonText, nil)} {
			logger := slog.New(handler)
			logger.Info("call", "value", holder.value, slog.Group("group", "value", holder.value))
			logger.With("value", holder.value).WithGroup("g").Error("call", "error", fmt.Errorf("call of %v", holder.value))
		}
		for handler, got := range map[string]string{"text": text.String(), "json": jsonText.String()} {
			if leaks(got) {
				t.Errorf("%s: the log contains the secret: %s", name, got)
			}
			if holder.called && strings.Count(got, "[redacted]") < 3 {
				t.Errorf("%s as %s: [redacted] is missing: %s", name, handler, got)
			}
		}
	}
}

func TestSecretIsRedactedInErrors(t *testing.T) {
	t.Parallel()
	s := tokenauth.NewSecret(plain)
	err := errors.Join(fmt.Errorf("bind as %v", s), fmt.Errorf("bind as %+v: %w", exported{s}, errors.New("refused")))
	if got := err.Error(); leaks(got) || strings.Count(got, "[redacted]") != 2 {
		t.Errorf("the error is %s", got)
	}
}

func TestRevealReturnsTheText(t *testing.T) {
	t.Parallel()
	var zero tokenauth.Secret
	if got := zero.Reveal(); got != "" || zero.String() != "[redacted]" {
		t.Errorf("the zero value reveals %q and prints %v", got, zero)
	}
	for _, text := range []string{"", plain, "\x00\xff"} {
		s := tokenauth.NewSecret(text)
		copied := s
		if s.Reveal() != text || copied.Reveal() != text {
			t.Errorf("reveals %q and, copied, %q; want %q", s.Reveal(), copied.Reveal(), text)
		}
	}
	// Check that leaks finds the secret, or the tests prove nothing.
	if !leaks(fmt.Sprintf("%x", plain)) || !leaks(fmt.Sprintf("%d", []byte(plain))) || !leaks(fmt.Sprintf("% X", plain)) {
		t.Error("leaks does not find the secret")
	}
}
