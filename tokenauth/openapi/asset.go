package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// An asset is a static file. Clients that accept gzip get it compressed.
type asset struct {
	mediaType string
	plain     []byte
	gzipped   []byte
	hash      string // hex; the start of the SHA-256 of plain
}

func newAsset(mediaType string, plain []byte) asset {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // fails only for an invalid level
	w.Write(plain)                                        // writing to a bytes.Buffer never fails
	w.Close()
	return hashed(asset{mediaType: mediaType, plain: plain, gzipped: b.Bytes()})
}

// gzippedAsset returns an asset for a file that is embedded in compressed form.
func gzippedAsset(mediaType string, gzipped []byte) (asset, error) {
	r, err := gzip.NewReader(bytes.NewReader(gzipped))
	if err != nil {
		return asset{}, err
	}
	plain, err := io.ReadAll(r)
	return hashed(asset{mediaType: mediaType, plain: plain, gzipped: gzipped}), err
}

func hashed(a asset) asset {
	sum := sha256.Sum256(a.plain)
	a.hash = hex.EncodeToString(sum[:8])
	return a
}

// serve answers GET and HEAD with the file, and other methods with 405.
func (a *asset) serve(w http.ResponseWriter, r *http.Request, cacheControl string) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	body := a.plain
	h.Add("Vary", "Accept-Encoding") // middleware may have set Vary already
	etag := `"` + a.hash + `"`
	// Middleware that compresses sets Content-Encoding before it calls the handler.
	compressed := h.Get("Content-Encoding") != ""
	if !compressed && acceptsGzip(r.Header.Values("Accept-Encoding")) {
		body, etag = a.gzipped, `"`+a.hash+`-gzip"`
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Cache-Control", cacheControl)
	if cacheControl != noStore {
		h.Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			h.Del("Content-Encoding")
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Type", a.mediaType)
	if !compressed {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	if r.Method == http.MethodGet {
		w.Write(body)
	}
}

const (
	noStore   = "no-store"
	immutable = "public, max-age=31536000, immutable"
)

// acceptsGzip reports whether the lines of an Accept-Encoding header (RFC 9110
// §12.5.3) list gzip, unless with the weight 0. A "*" does not count as gzip.
func acceptsGzip(lines []string) bool {
	for coding := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		name, parameters, _ := strings.Cut(coding, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			_, weight, weighted := strings.Cut(parameters, "=")
			q, err := strconv.ParseFloat(strings.TrimSpace(weight), 64)
			return !weighted || err == nil && q > 0
		}
	}
	return false
}
