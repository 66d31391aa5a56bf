package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A tick is what both streams send each second.
type tick struct {
	Time time.Time `json:"time"`
}

func tickAt(t time.Time) tick { return tick{t.UTC().Truncate(time.Second)} }

// The reasons for which a stream ends.
const (
	ended    = "ended"    // on another device, or by a new password
	replaced = "replaced" // by a sign-in on the same device
	expired  = "expired"
	restart  = "restart" // of the service: connect again
)

// reason returns why the context of a stream ended.
func reason(ctx context.Context) string {
	switch err := context.Cause(ctx); {
	case errors.Is(err, tokenauth.ErrExpiredToken):
		return expired
	case errors.Is(err, tokenauth.ErrReplacedToken):
		return replaced
	case errors.Is(err, tokenauth.ErrInvalidToken):
		return ended
	}
	return restart
}

// unblock ends the writes of a stream a second after its context. Otherwise a client
// that does not read could block the handler without end.
//
// The handler must call the result before it returns. Afterwards the server and Gin
// use the writer for another request, which must not get the deadline.
func unblock(c *gin.Context) (finish func()) {
	out, set := http.NewResponseController(c.Writer), make(chan struct{})
	stop := context.AfterFunc(c.Request.Context(), func() {
		out.SetWriteDeadline(time.Now().Add(time.Second))
		close(set)
	})
	return func() {
		if !stop() {
			<-set
		}
	}
}

// events handles GET /events: server-sent events, the last of which says why the
// stream ends.
func (s *service) events(c *gin.Context) {
	defer unblock(c)()
	ctx, h := c.Request.Context(), c.Writer.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would keep the events back

	send := func(event string, data any) error {
		text, err := json.Marshal(data)
		if err == nil {
			_, err = fmt.Fprintf(c.Writer, "event: %s\ndata: %s\n\n", event, text)
		}
		if err == nil {
			err = http.NewResponseController(c.Writer).Flush()
		}
		return err
	}
	seconds := time.NewTicker(time.Second)
	defer seconds.Stop()
	for now := time.Now(); ; {
		if send("message", tickAt(now)) != nil {
			return
		}
		select {
		case now = <-seconds.C:
		case <-ctx.Done():
			send("end", gin.H{"reason": reason(ctx)})
			return
		}
	}
}

// signInAgain is the close status of a WebSocket whose token ended. Its app must
// not connect again with the same token. RFC 6455 §7.4.2 leaves 4000 to 4999 to
// applications.
const signInAgain websocket.StatusCode = 4401

// socket handles GET /ws.
func (s *service) socket(c *gin.Context) {
	s.sockets.Add(1)
	defer s.sockets.Done()
	ctx, finish := c.Request.Context(), unblock(c)
	conn, err := websocket.Accept(c.Writer, c.Request, nil)
	finish()
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow()
	defer unblock(c)() // again, because Accept removes a deadline
	// Not ctx: when it ends, the package would close the connection without a status.
	open := conn.CloseRead(context.WithoutCancel(ctx)) // ends with the connection
	seconds := time.NewTicker(time.Second)
	defer seconds.Stop()
	for now := time.Now(); ; {
		text, err := json.Marshal(tickAt(now))
		if err != nil || conn.Write(open, websocket.MessageText, text) != nil {
			return
		}
		select {
		case now = <-seconds.C:
		case <-open.Done():
			return
		case <-ctx.Done():
			status := signInAgain
			if reason(ctx) == restart {
				status = websocket.StatusTryAgainLater
			}
			conn.Close(status, reason(ctx))
			return
		}
	}
}
