package tokenauth

import (
	"bufio"
	"net"
	"net/http"
)

// render has Options.RenderError answer. The answer has the status of the refusal
// unless RenderError writes another: the default of net/http, 200, would tell a
// client and a cache that the request was let through.
func (s *Service) render(w http.ResponseWriter, r *http.Request, e *ErrorResponse) {
	own := &refusalWriter{ResponseWriter: w, status: e.status()}
	defer func() {
		p := recover()
		switch {
		case p == nil:
			own.begin()
		case p == http.ErrAbortHandler || own.begun:
			panic(p) // the client must not take a part for all of the answer
		default:
			s.securityLog.panicked(r.Context(), "Options.RenderError", p)
			w.Header().Del("Content-Encoding")
			e.ServeHTTP(w, r)
		}
	}()
	s.options.RenderError(own, r, e)
}

// A refusalWriter begins its answer with the status of a refusal.
type refusalWriter struct {
	http.ResponseWriter
	status int
	begun  bool // or taken over
}

// Unwrap is for http.ResponseController.
func (w *refusalWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *refusalWriter) begin() {
	if !w.begun {
		w.WriteHeader(w.status)
	}
}

// WriteHeader may be called for informational responses before (RFC 9110 §15.2).
func (w *refusalWriter) WriteHeader(status int) {
	w.begun = w.begun || status >= 200 || status == http.StatusSwitchingProtocols
	w.ResponseWriter.WriteHeader(status)
}

func (w *refusalWriter) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b)
}

// Flush implements http.Flusher.
func (w *refusalWriter) Flush() { w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *refusalWriter) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker.
func (w *refusalWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.begun = w.begun || err == nil
	return conn, buffered, err
}
