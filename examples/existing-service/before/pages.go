package main

import (
	"errors"
	"html/template"
	"net/http"

	"github.com/gin-gonic/gin"
)

var loginTemplate = template.Must(template.New("login").Parse(`<!doctype html>
<title>Sign in</title>
<form method="post" action="/login">
<p>{{.}}</p>
<input name="email" type="email" placeholder="Email" required>
<input name="password" type="password" placeholder="Password" required>
<button>Sign in</button>
</form>
`))

var ordersTemplate = template.Must(template.New("orders").Parse(`<!doctype html>
<title>Orders</title>
<p>Signed in as {{.Caller.Email}}.</p>
<ul>{{range .Orders}}<li>{{.Count}} × {{.Item}}, taken by {{.TakenBy}}</li>{{end}}</ul>
<form method="post" action="/logout"><button>Sign out</button></form>
`))

func (s *service) loginPage(c *gin.Context) { showPage(c, http.StatusOK, loginTemplate, "") }

func (s *service) ordersPage(c *gin.Context) {
	who, err := s.sessionCaller(c.Request)
	if errors.Is(err, errNoSession) {
		c.Redirect(http.StatusSeeOther, "/login")
		return
	}
	if err != nil {
		s.internal(c, err)
		return
	}
	orders, err := s.orders(c)
	if err != nil {
		s.internal(c, err)
		return
	}
	showPage(c, http.StatusOK, ordersTemplate, struct {
		Caller caller
		Orders []Order
	}{who, orders})
}

func showPage(c *gin.Context, status int, page *template.Template, data any) {
	c.Header("Content-Type", "text/html; charset=utf-8")
	c.Status(status)
	page.Execute(c.Writer, data)
}
