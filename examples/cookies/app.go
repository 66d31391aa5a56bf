package main

import (
	"net/http"
	"sync/atomic"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

// An app is the application with the cookie.
type app struct {
	auth     *tokenauth.Service
	session  place.Cookie
	guard    gin.HandlerFunc
	accept   websocket.AcceptOptions
	record   *record
	messages atomic.Int64 // written
}

func newApp(auth *tokenauth.Service, session place.Cookie) *app {
	return &app{auth: auth, session: session, guard: ginadapter.RequireBearer(auth), record: newRecord()}
}

// data is the body of each response to a user.
const data = `{"text": "the user's data"}`

// routes returns the application, with the pages of [pages].
func (a *app) routes(pages http.Handler) http.Handler {
	r := gin.New()
	// An old path that stays valid.
	r.Any("/old/messages", func(c *gin.Context) {
		c.Redirect(http.StatusTemporaryRedirect, "/my/messages?"+c.Request.URL.RawQuery)
	})
	r.Use(gin.Recovery(), onlyOwnFrames, a.record.refused)
	for _, path := range []string{"/", "/requests.js", "/worker.js", "/record"} {
		r.GET(path, gin.WrapH(pages))
	}
	r.POST("/sign-in", onlyOwnPages, a.record.reached(http.StatusNoContent), a.signIn)
	r.POST("/sign-out", onlyOwnPages, ginadapter.Optional(a.auth), a.record.reached(http.StatusNoContent), a.signOut)

	my := r.Group("/my", a.guard)
	ok := a.record.reached(http.StatusOK)
	my.GET("/data", ok, func(c *gin.Context) { c.Data(http.StatusOK, gin.MIMEJSON, []byte(data)) })
	my.GET("/page", ok, page)
	my.GET("/events", ok, stream)
	my.GET("/feed", a.record.reached(http.StatusSwitchingProtocols), a.feed)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		my.Handle(method, "/messages", a.record.reached(http.StatusCreated), func(c *gin.Context) {
			a.messages.Add(1)
			c.Data(http.StatusCreated, gin.MIMEJSON, []byte(data))
		})
	}
	return r
}

// onlyOwnFrames forbids pages of other origins to show this application in a
// frame, where they could make the user click on something.
func onlyOwnFrames(c *gin.Context) {
	c.Header("Content-Security-Policy", "frame-ancestors 'self'")
}

// onlyOwnPages refuses requests of other origins on the routes that set or delete
// the cookie. Guards cannot: such a request needs no cookie.
func onlyOwnPages(c *gin.Context) {
	if new(http.CrossOriginProtection).Check(c.Request) != nil {
		c.AbortWithStatus(http.StatusForbidden)
	}
}

func (a *app) signIn(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, 8<<10)
	credentials := a.auth.RequestCredentials(c.Request)
	credentials.UserName, credentials.Password = c.PostForm("name"), tokenauth.NewSecret(c.PostForm("password"))
	issued, err := a.auth.SignIn(c.Request.Context(), credentials)
	if err != nil {
		e := tokenauth.ErrorResponseOf(err)
		e.SetHeaders(c.Writer.Header())
		c.Status(e.Status)
		return
	}
	issued.SetCookie(c.Writer, c.Request, a.session)
	c.Status(http.StatusNoContent)
}

func (a *app) signOut(c *gin.Context) {
	if token, ok := ginadapter.From(c); ok {
		if err := a.auth.RevokeToken(c.Request.Context(), token); err != nil {
			c.Status(http.StatusServiceUnavailable)
			return
		}
	}
	a.session.Clear(c.Writer, c.Request)
	c.Status(http.StatusNoContent)
}

// page is a page of the application. If it is in a frame, it says so to the page
// around it.
func page(c *gin.Context) {
	c.Data(http.StatusOK, "text/html; charset=utf-8", []byte(`<!DOCTYPE html><p>The user's data.
<script>if (parent !== window) parent.postMessage("shown in a frame", "*");</script>`))
}

// stream sends server-sent events.
func stream(c *gin.Context) {
	c.SSEvent("message", data)
	c.Writer.Flush()
	<-c.Request.Context().Done()
}

// feed sends a message over a WebSocket.
func (a *app) feed(c *gin.Context) {
	conn, err := websocket.Accept(c.Writer, c.Request, &a.accept)
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow()
	if conn.Write(c.Request.Context(), websocket.MessageText, []byte(data)) == nil {
		conn.Close(websocket.StatusNormalClosure, "")
	}
}
