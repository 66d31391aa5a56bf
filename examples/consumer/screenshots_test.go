package main

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestScreenshots makes the pictures of the README: the page on a laptop, and
// beside it on a phone.
//
//	CONSUMER_SCREENSHOTS=1 go test -run Screenshots ./examples/consumer
func TestScreenshots(t *testing.T) {
	if os.Getenv("CONSUMER_SCREENSHOTS") == "" {
		t.Skip("CONSUMER_SCREENSHOTS is not set")
	}
	s := startSite(t, config{store: storeURLs["sqlite"](t)})
	form := credentials("username", trialPassword, "tablet")
	form.Set("device_name", "Living room tablet")
	s.client(t).want(200, "POST", "/Token", form)
	form.Set("device", "phone")
	form.Set("device_name", "Ann's phone")
	s.client(t).want(200, "POST", "/Token", form)
	ann := s.client(t).signIn("username", "")
	ann.makeKey(url.Values{"name": {"Nightly report"}, "role": {"Administrator"}, "days": {"365"}})
	ann.want(204, "DELETE", "/session", nil)
	b := visit(t, s, laptop)
	b.signIn("username", trialPassword, "Work laptop")
	b.awaitSignedIn("username")
	out := visit(t, s, phone)
	out.await(`document.querySelector("#device-name").value`)
	for _, scheme := range []string{"light", "dark"} {
		var shots []image.Image
		for _, look := range []screen{{880, 1060, scheme}, {360, 1060, scheme}} {
			b.look(look)
			shots = append(shots, b.capture())
		}
		out.look(screen{360, 1060, scheme})
		shots = append(shots, out.capture())
		write(t, "page-"+scheme+".png", beside(shots))
	}
}

func (b *tab) capture() image.Image {
	b.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.Fatal(err)
	}
	decoded, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		b.Fatal(err)
	}
	return decoded
}

// beside puts the pictures beside each other, on a transparent ground.
func beside(shots []image.Image) image.Image {
	const gap = 24
	width, height := -gap, 0
	for _, s := range shots {
		width += gap + s.Bounds().Dx()
		height = max(height, s.Bounds().Dy())
	}
	all := image.NewRGBA(image.Rect(0, 0, width, height))
	x := 0
	for _, s := range shots {
		draw.Draw(all, image.Rect(x, 0, x+s.Bounds().Dx(), height), s, s.Bounds().Min, draw.Src)
		x += s.Bounds().Dx() + gap
	}
	return all
}

// write writes the picture with its 64 most frequent colors.
func write(t *testing.T, name string, picture image.Image) {
	t.Helper()
	n := make(map[color.RGBA]int)
	bounds := picture.Bounds()
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			n[picture.At(x, y).(color.RGBA)]++
		}
	}
	frequent := slices.SortedFunc(maps.Keys(n), func(a, b color.RGBA) int { return n[b] - n[a] })
	palette := color.Palette{}
	for _, c := range frequent[:min(len(frequent), 64)] {
		palette = append(palette, c)
	}
	small := image.NewPaletted(bounds, palette)
	draw.Draw(small, bounds, picture, bounds.Min, draw.Src)
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, small); err != nil {
		t.Fatal(err)
	}
	if out.Len() > 60_000 {
		t.Errorf("%s has %d bytes, want at most 60,000", name, out.Len())
	}
	if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s has %d bytes: %s", name, out.Len(), strings.TrimSpace(bounds.String()))
}
