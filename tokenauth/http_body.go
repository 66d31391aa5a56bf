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

// readBody reads at most maxBodySize bytes of the body, within
// [Options.BodyTimeout].
//
// If the host's code has read the body with [http.Request.ParseForm], readBody
// returns r.PostForm. It never uses r.Form, because that also has the query
// parameters. If the body still has bytes, middleware has restored the whole
// body. Then readBody uses the body and not r.PostForm, because ParseForm drops
// pairs with a semicolon or a malformed escape.
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

// isClosed reports whether err means that the host's code closed the body.
// Neither net/http nor golang.org/x/net exports the HTTP/2 error, so isClosed
// compares its text.
func isClosed(err error) bool {
	return errors.Is(err, http.ErrBodyReadAfterClose) || err != nil && err.Error() == "body closed by handler"
}

// bodyGone returns the response to a request whose body the host's code has
// consumed but not parsed into r.PostForm. It logs a warning only if the
// request has a Content-Length, because the body of any other request may have
// been empty.
func (s *Service) bodyGone(r *http.Request) *ErrorResponse {
	if r.ContentLength > 0 {
		s.securityLog.bodyGone(r.Context())
	}
	return invalidRequest(http.StatusBadRequest, wire.BodyGone)
}

// hasMultipart reports whether the host's code has parsed a multipart body. If
// so, the fields of that body are in r.PostForm.
func hasMultipart(r *http.Request) bool {
	if m := r.MultipartForm; m != nil && len(m.Value)+len(m.File) > 0 {
		return true
	}
	return len(r.PostForm) > 0 && hasPrefixFold(strings.TrimSpace(r.Header.Get("Content-Type")), "multipart/")
}

// withinBodyTimeout calls read, and makes body reads fail once
// [Options.BodyTimeout] has passed. It reports whether read returned in time.
//
// It sets a read deadline only when the timeout has passed, so it never extends
// [http.Server.ReadTimeout]. If the body arrives in time, no deadline remains,
// because the server keeps reading to notice a disconnect while the password is
// hashed. The hashing may take longer than the timeout. If middleware hides the
// connection from [http.ResponseController], only the server's own timeout
// applies.
func (s *Service) withinBodyTimeout(w http.ResponseWriter, read func()) (inTime bool) {
	expired := make(chan bool, 1)
	timer := time.AfterFunc(s.options.BodyTimeout, func() {
		expired <- http.NewResponseController(w).SetReadDeadline(longAgo) == nil
	})
	// The timer must not use w after the handler has returned or panicked.
	defer func() { inTime = timer.Stop() || !<-expired }()
	read()
	return
}

var longAgo = time.Unix(1, 0)

// limitUnread limits how long the server goes on reading a refused body before
// it closes the connection. It does nothing if the server has a ReadTimeout,
// because a new deadline could extend that timeout.
func (s *Service) limitUnread(w http.ResponseWriter, r *http.Request) {
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && server.ReadTimeout <= 0 {
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.options.BodyTimeout))
	}
}
