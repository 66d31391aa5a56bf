package tokenauth

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func TestJSONKeepsOrderAndPlainCharacters(t *testing.T) {
	t.Parallel()
	var o jsonObject
	o.text("b", "<a href='x'>&amp;</a>")
	o.number("a", math.MaxInt64)
	o.text("<&>", "")
	o.number(".n", -1)
	const want = `{"b":"<a href='x'>&amp;</a>","a":9223372036854775807,"<&>":"",".n":-1}`
	if got := string(o.done()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEmptyJSONObjectIsBraces(t *testing.T) {
	t.Parallel()
	var o jsonObject
	if got := string(o.done()); got != "{}" {
		t.Errorf("got %s, want {}", got)
	}
}

func TestJSONRoundTrips(t *testing.T) {
	t.Parallel()
	values := []string{
		"", "alice", "ü b&<", `"\/`, "\x00\x01\b\f\n\r\t\x1f\x7f", "\u2028\u2029", "\U0001F511", "\ufffd",
		"</script>", "\\u003c", "null", strings.Repeat("x", 10_000),
	}
	var o jsonObject
	want := make(map[string]any)
	for i, value := range values {
		name := value + "="
		o.text(name, value)
		o.number("#"+name, int64(i))
		want[name], want["#"+name] = value, float64(i)
	}
	body := o.done()
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if len(got) != len(want) {
		t.Errorf("decoded %d members, want %d", len(got), len(want))
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%q is %q, want %q", name, got[name], value)
		}
	}
	for _, c := range body {
		if c < ' ' {
			t.Errorf("an unescaped control character in %q", body)
			break
		}
	}
	if strings.Contains(string(body), `\u003c/`) || !strings.Contains(string(body), "</script>") {
		t.Errorf("escaped a character that the Katana server does not escape: %s", body)
	}
}

// A value that is not UTF-8 must not make the response invalid JSON.
func TestJSONIsAlwaysUTF8(t *testing.T) {
	t.Parallel()
	var o jsonObject
	o.text("a\xff", "b\xed\xa0\x80")
	var got map[string]string
	if err := json.Unmarshal(o.done(), &got); err != nil || got["a\ufffd"] != "b\ufffd\ufffd\ufffd" {
		t.Errorf("got %q, error %v", got, err)
	}
}
