package tokenauth

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// readBody reads at most maxBodySize bytes, within Options.BodyTimeout. Where the
// host's code has read the body and called ParseForm, it takes the form that this
// made, never r.Form, which has the query as well. What is left in the body goes
// before the form: a middleware that puts the body back puts back all of it,
// and ParseForm drops pairs with a semicolon or a malformed escape.
func (s *Service) readBody(w http.ResponseWriter, r *http.Request) (formBody, *ErrorResponse) {
	refused := func(status int, description string) (formBody, *ErrorResponse) {
		return formBody{}, early(status, description)
	}
	if r.ContentLength > maxBodySize {
		return refused(http.StatusRequestEntityTooLarge, wire.BodyTooLarge)
	}
	text, err := []byte(nil), error(nil)
	inTime := s.withinBodyTimeout(w, func() {
		if r.Body != nil {
			text, err = io.ReadAll(io.LimitReader(r.Body, maxBodySize+1))
		}
	})
	if !inTime || errors.Is(err, os.ErrDeadlineExceeded) {
		return refused(http.StatusRequestTimeout, wire.BodyTooSlow)
	}
	overLimit := (*http.MaxBytesError)(nil)
	switch {
	case len(text) > maxBodySize:
		return refused(http.StatusRequestEntityTooLarge, wire.BodyTooLarge)
	case errors.As(err, &overLimit):
		return refused(http.StatusRequestEntityTooLarge, wire.BodyOverLimit)
	case len(text) == 0 && len(r.PostForm) > 0:
		return formBody{parsed: r.PostForm}, nil
	case isClosed(err), err == nil && len(text) == 0 && r.ContentLength != 0:
		return formBody{}, s.bodyGone(r)
	case err != nil:
		return refused(http.StatusBadRequest, wire.BodyUnreadable)
	}
	return formBody{text: text, cut: int64(len(text)) < r.ContentLength}, nil
}

// isClosed reports whether the host's code closed the body. The error of HTTP/2, in
// net/http and golang.org/x/net alike, has no name.
func isClosed(err error) bool {
	return errors.Is(err, http.ErrBodyReadAfterClose) || err != nil && err.Error() == "body closed by handler"
}

// bodyGone is the response to a request whose body the host's code has read
// without leaving a form. A body without a Content-Length may have been empty.
func (s *Service) bodyGone(r *http.Request) *ErrorResponse {
	if r.ContentLength > 0 {
		s.securityLog.bodyGone(r.Context())
	}
	return invalidRequest(http.StatusBadRequest, wire.BodyGone)
}

// hasMultipart reports whether the host's code has parsed a multipart body, whose
// fields are in r.PostForm then.
func hasMultipart(r *http.Request) bool {
	if m := r.MultipartForm; m != nil && len(m.Value)+len(m.File) > 0 {
		return true
	}
	return len(r.PostForm) > 0 && hasPrefixFold(strings.TrimSpace(r.Header.Get("Content-Type")), "multipart/")
}

// withinBodyTimeout calls read, and has reads of the body fail when
// Options.BodyTimeout is over. It reports whether read returned before.
//
// It leaves the deadline of the connection alone until then, and so never extends
// the server's own ReadTimeout. Once the body is read there is none: the server
// watches for the client to leave, and hashing may take longer. A middleware that
// hides the connection from http.ResponseController leaves the server's own.
func (s *Service) withinBodyTimeout(w http.ResponseWriter, read func()) (inTime bool) {
	expired := make(chan bool, 1)
	timer := time.AfterFunc(s.options.BodyTimeout, func() {
		expired <- http.NewResponseController(w).SetReadDeadline(longAgo) == nil
	})
	// Nothing may use w after the handler returned or panicked.
	defer func() { inTime = timer.Stop() || !<-expired }()
	read()
	return
}

var longAgo = time.Unix(1, 0)

// limitUnread bounds how long the server reads on in a body that is refused,
// before it closes the connection. A ReadTimeout of the server's own bounds that
// already, and would be extended.
func (s *Service) limitUnread(w http.ResponseWriter, r *http.Request) {
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && server.ReadTimeout <= 0 {
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.options.BodyTimeout))
	}
}
