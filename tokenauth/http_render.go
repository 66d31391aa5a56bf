package tokenauth

import (
	"bufio"
	"net"
	"net/http"
)

// render calls [Options.RenderError] to write an error response. The headers,
// including WWW-Authenticate, are already set.
//
// If RenderError writes no status, the response has the error's status. The
// net/http default of 200 would make a client or a cache assume that the
// request was accepted.
func (s *Service) render(w http.ResponseWriter, r *http.Request, e *ErrorResponse) {
	own := &refusalWriter{ResponseWriter: w, status: e.status()}
	defer func() {
		p := recover()
		switch {
		case p == nil:
			own.begin()
		case p == http.ErrAbortHandler || own.begun:
			panic(p) // so that the client does not mistake a partial response for a complete one
		default:
			s.securityLog.panicked(r.Context(), "Options.RenderError", p)
			w.Header().Del("Content-Encoding")
			e.ServeHTTP(w, r)
		}
	}()
	s.options.RenderError(own, r, e)
}

// A refusalWriter writes the status of the error before the first byte of the
// body, unless the host has called WriteHeader.
type refusalWriter struct {
	http.ResponseWriter
	status int
	begun  bool // the status was written, or the connection hijacked
}

// Unwrap is for [http.ResponseController].
func (w *refusalWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *refusalWriter) begin() {
	if !w.begun {
		w.WriteHeader(w.status)
	}
}

// WriteHeader writes the status. With a status below 400 it removes the
// errorHeaders. After an informational status (RFC 9110 §15.2), it puts them
// back and begun stays false, because the final status is still to come.
func (w *refusalWriter) WriteHeader(status int) {
	informational := status < 200 && status != http.StatusSwitchingProtocols
	if h := w.Header(); !w.begun && status < 400 {
		for _, name := range errorHeaders {
			if lines, ok := h[name]; ok {
				delete(h, name)
				if informational {
					defer func() { h[name] = lines }()
				}
			}
		}
	}
	w.begun = w.begun || !informational
	w.ResponseWriter.WriteHeader(status)
}

// errorHeaders are headers that belong to errors. Beside another status, they
// would make a client or a proxy ask for a password, or wait.
var errorHeaders = []string{"Retry-After", "Www-Authenticate"}

func (w *refusalWriter) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b)
}

// Flush implements [http.Flusher].
func (w *refusalWriter) Flush() { w.FlushError() }

// FlushError is the method that [http.ResponseController] uses to flush.
func (w *refusalWriter) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements [http.Hijacker].
func (w *refusalWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.begun = w.begun || err == nil
	return conn, buffered, err
}
